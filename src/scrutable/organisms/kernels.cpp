// The element-wise work and the attention of a small Llama, forward and backward, for one thread.
//
// Tokens of many sequences lie one after another ("packed"), so no padding is ever computed and no shape needs its
// own code. Matrix products stay with torch. Left out: threads (workers are processes) and gains of the norms.
// HD (width of a head, a multiple of 16) is given by the compiler. Vector types are GCC's, so the file runs on any CPU.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

typedef uint16_t bf16;
typedef float vec __attribute__((vector_size(64), aligned(4)));  // 16 floats
constexpr int W = 16, NV = HD / W, R = 8;                        // R: query rows worked on together

static inline float up(bf16 x) {
    uint32_t u = uint32_t(x) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline bf16 down(float f) {  // round to nearest, ties to even
    uint32_t u;
    memcpy(&u, &f, 4);
    return bf16((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
static inline float fast_exp(float x) {  // relative error below 3e-7 for x in [-87, 88]
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    float n = rintf(x * 1.44269504f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t u = uint32_t(int32_t(n) + 127) << 23;
    float s;
    memcpy(&s, &u, 4);
    return p * s;
}
static inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
static inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }

// One head's rows into floats, rotated (angle of each row's position) and scaled; `table` is [positions, cos HD/2 | sin HD/2].
static void gather(const bf16* src, long stride, long n, const int* pos, const float* table, float scale, float* out) {
    constexpr int half = HD / 2;
    for (long i = 0; i < n; i++, src += stride, out += HD) {
        if (!table) {
            for (int c = 0; c < HD; c++) out[c] = up(src[c]);
            continue;
        }
        const float *co = table + long(pos[i]) * HD, *si = co + half;
        for (int c = 0; c < half; c++) {
            float a = up(src[c]), b = up(src[c + half]);
            out[c] = (a * co[c] - b * si[c]) * scale;
            out[c + half] = (b * co[c] + a * si[c]) * scale;
        }
    }
}
// The way back of `gather` for gradients: rotated by the opposite angle.
static void scatter(const float* src, long n, const int* pos, const float* table, float scale, bf16* out, long stride) {
    constexpr int half = HD / 2;
    for (long i = 0; i < n; i++, src += HD, out += stride) {
        if (!table) {
            for (int c = 0; c < HD; c++) out[c] = down(src[c]);
            continue;
        }
        const float *co = table + long(pos[i]) * HD, *si = co + half;
        for (int c = 0; c < half; c++) {
            float a = src[c] * scale, b = src[c + half] * scale;
            out[c] = down(a * co[c] + b * si[c]);
            out[c + half] = down(b * co[c] - a * si[c]);
        }
    }
}
static void transpose(const float* a, long n, float* t, long stride) {  // [n, HD] -> [HD, stride], the rest zero
    for (int c = 0; c < HD; c++) {
        for (long j = 0; j < n; j++) t[c * stride + j] = a[j * HD + c];
        for (long j = n; j < stride; j++) t[c * stride + j] = 0.0f;
    }
}
// s[r][j] = a[r] . bt[:, j] for R rows and j < m (m a multiple of 2 W)
static void dots(const float* a, const float* bt, long stride, long m, float* s) {
    for (long j = 0; j < m; j += 2 * W) {
        vec x[R] = {}, y[R] = {};
        for (int c = 0; c < HD; c++) {
            vec p = load(bt + c * stride + j), q = load(bt + c * stride + j + W);
            for (int r = 0; r < R; r++) x[r] += p * a[r * HD + c], y[r] += q * a[r * HD + c];
        }
        for (int r = 0; r < R; r++) store(s + r * stride + j, x[r]), store(s + r * stride + j + W, y[r]);
    }
}
// out[r] = sum over j < m of s[r][j] b[j]
static void mix(const float* s, long stride, long m, const float* b, float* out) {
    for (int v = 0; v < NV; v += 2) {
        vec x[R] = {}, y[R] = {};
        for (long j = 0; j < m; j++) {
            vec p = load(b + j * HD + v * W), q = load(b + j * HD + (v + 1 < NV ? v + 1 : v) * W);
            for (int r = 0; r < R; r++) x[r] += p * s[r * stride + j], y[r] += q * s[r * stride + j];
        }
        for (int r = 0; r < R; r++) {
            store(out + r * HD + v * W, x[r]);
            if (v + 1 < NV) store(out + r * HD + (v + 1) * W, y[r]);
        }
    }
}
// out[j] += sum over the R rows of s[r][j] a[r]
static void spread(const float* s, long stride, long m, const float* a, float* out) {
    for (int v = 0; v < NV; v++) {
        vec x[R];
        for (int r = 0; r < R; r++) x[r] = load(a + r * HD + v * W);
        for (long j = 0; j < m; j++) {
            vec t = load(out + j * HD + v * W);
            for (int r = 0; r < R; r++) t += x[r] * s[r * stride + j];
            store(out + j * HD + v * W, t);
        }
    }
}

struct Layout {           // which rows belong together; arrays of int32
    long sequences;       // S
    const int *keys;      // [S + 1] first key row of each sequence
    const int *queries;   // [S + 1] first query row of each sequence
    const int *last;      // [Q] last key a query sees, counted from its sequence's first
    const int *from;      // [Q] first key of the query's own part
    const int *shared;    // [Q] keys below this one are seen too (a shared prefix)
    const int *key_pos;   // [K] position of each key for the rotation
    const int *query_pos; // [Q]
};
struct Scratch {
    std::vector<float> q, k, v, kt, vt, s, d, o, go, dq, dk, dv;
    long keys = 0, stride = 0, rows = 0;
    void fit(long n, long m) {
        keys = n, stride = (n + 2 * W - 1) / (2 * W) * (2 * W), rows = (m + R - 1) / R * R;
        for (auto* a : {&k, &v, &kt, &vt, &dk, &dv}) if (long(a->size()) < stride * HD) a->resize(stride * HD);
        for (auto* a : {&q, &o, &go, &dq}) if (long(a->size()) < rows * HD) a->resize(rows * HD);
        for (auto* a : {&s, &d}) if (long(a->size()) < stride * R) a->resize(stride * R);
    }
};
static long reach(const Layout& l, long row, long rows) {  // how many keys, rounded up, some row of the block sees
    long m = 0;
    for (long r = row; r < row + R && r < rows; r++) m = l.last[r] + 1 > m ? l.last[r] + 1 : m;
    return (m + 2 * W - 1) / (2 * W) * (2 * W);
}
static inline void hide(const Layout& l, long row, float* s, long m) {
    long last = l.last[row], from = l.from[row], shared = l.shared[row];
    for (long j = shared; j < from; j++) s[j] = -1e30f;
    for (long j = last + 1; j < m; j++) s[j] = -1e30f;
}
static void open_head(const Layout& l, long seq, const bf16* q, long q_stride, const bf16* k, const bf16* v, long kv_stride,
                      const float* table, Scratch& w) {
    long k0 = l.keys[seq], n = l.keys[seq + 1] - k0, q0 = l.queries[seq], m = l.queries[seq + 1] - q0;
    w.fit(n, m);
    gather(q + q0 * q_stride, q_stride, m, l.query_pos + q0, table, 1.0f / sqrtf(HD), w.q.data());
    memset(w.q.data() + m * HD, 0, (w.rows - m) * HD * 4);
    gather(k + k0 * kv_stride, kv_stride, n, l.key_pos + k0, table, 1.0f, w.k.data());
    gather(v + k0 * kv_stride, kv_stride, n, nullptr, nullptr, 1.0f, w.v.data());
    memset(w.k.data() + n * HD, 0, (w.stride - n) * HD * 4);
    memset(w.v.data() + n * HD, 0, (w.stride - n) * HD * 4);
    transpose(w.k.data(), n, w.kt.data(), w.stride);
}

static thread_local Scratch scratch;

extern "C" {

// x += y (where given); h = x / rms(x); rstd kept for the way back.  x [n, d] float, y and h bf16
void norm_forward(float* x, const bf16* y, bf16* h, float* rstd, long n, long d, float eps) {
    for (long i = 0; i < n; i++, x += d, h += d) {
        float s = 0;
        if (y) for (long c = 0; c < d; c++) x[c] += up(y[i * d + c]);
        for (long c = 0; c < d; c++) s += x[c] * x[c];
        float r = rstd[i] = 1.0f / sqrtf(s / d + eps);
        for (long c = 0; c < d; c++) h[c] = down(x[c] * r);
    }
}
// dx += gradient through the norm; its copy in bf16 goes to `copy`
void norm_backward(float* dx, const bf16* dh, const bf16* h, const float* rstd, bf16* copy, long n, long d) {
    for (long i = 0; i < n; i++, dx += d, dh += d, h += d, copy += d) {
        float s = 0, r = rstd[i];
        for (long c = 0; c < d; c++) s += up(dh[c]) * up(h[c]);
        s /= d;
        for (long c = 0; c < d; c++) {
            float t = dx[c] += r * (up(dh[c]) - up(h[c]) * s);
            copy[c] = down(t);
        }
    }
}
void swiglu_forward(const bf16* gu, bf16* out, long n, long f) {
    for (long i = 0; i < n; i++, gu += 2 * f, out += f)
        for (long c = 0; c < f; c++) {
            float g = up(gu[c]);
            out[c] = down(g / (1.0f + fast_exp(-g)) * up(gu[f + c]));
        }
}
void swiglu_backward(const bf16* gu, const bf16* dout, bf16* dgu, long n, long f) {
    for (long i = 0; i < n; i++, gu += 2 * f, dgu += 2 * f, dout += f)
        for (long c = 0; c < f; c++) {
            float g = up(gu[c]), u = up(gu[f + c]), t = up(dout[c]), s = 1.0f / (1.0f + fast_exp(-g));
            dgu[c] = down(t * u * s * (1.0f + g * (1.0f - s)));
            dgu[f + c] = down(t * g * s);
        }
}
void attention_forward(const Layout* l, const bf16* q, long q_stride, const bf16* k, const bf16* v, long kv_stride,
                       const float* table, long heads, bf16* out, float* lse) {
    Scratch& w = scratch;
    for (long seq = 0; seq < l->sequences; seq++)
        for (long h = 0; h < heads; h++) {
            open_head(*l, seq, q + h * HD, q_stride, k + h * HD, v + h * HD, kv_stride, table, w);
            long q0 = l->queries[seq], q1 = l->queries[seq + 1];
            for (long i = q0; i < q1; i += R) {
                long m = reach(*l, i, q1);
                dots(w.q.data() + (i - q0) * HD, w.kt.data(), w.stride, m, w.s.data());
                for (long r = 0; r < R && i + r < q1; r++) {
                    float *s = w.s.data() + r * w.stride, top = -1e30f, sum = 0;
                    hide(*l, i + r, s, m);
                    for (long j = 0; j < m; j++) top = s[j] > top ? s[j] : top;
                    for (long j = 0; j < m; j++) sum += s[j] = s[j] < -1e29f ? 0.0f : fast_exp(s[j] - top);
                    for (long j = 0; j < m; j++) s[j] *= 1.0f / sum;
                    lse[(i + r) * heads + h] = top + logf(sum);
                }
                mix(w.s.data(), w.stride, m, w.v.data(), w.o.data());
                for (long r = 0; r < R && i + r < q1; r++)
                    for (int c = 0; c < HD; c++) out[((i + r) * heads + h) * HD + c] = down(w.o[r * HD + c]);
            }
        }
}
// The scores are computed again from `lse`. dq, dk, dv are laid out as q, k, v.
void attention_backward(const Layout* l, const bf16* q, long q_stride, const bf16* k, const bf16* v, long kv_stride,
                        const float* table, long heads, const bf16* out, const float* lse, const bf16* dout, bf16* dq,
                        bf16* dk, bf16* dv) {
    Scratch& w = scratch;
    for (long seq = 0; seq < l->sequences; seq++)
        for (long h = 0; h < heads; h++) {
            open_head(*l, seq, q + h * HD, q_stride, k + h * HD, v + h * HD, kv_stride, table, w);
            long q0 = l->queries[seq], q1 = l->queries[seq + 1], k0 = l->keys[seq];
            gather(dout + (q0 * heads + h) * HD, heads * HD, q1 - q0, nullptr, nullptr, 1.0f, w.go.data());
            memset(w.go.data() + (q1 - q0) * HD, 0, (w.rows - (q1 - q0)) * HD * 4);
            transpose(w.v.data(), w.keys, w.vt.data(), w.stride);
            memset(w.dk.data(), 0, w.stride * HD * 4);
            memset(w.dv.data(), 0, w.stride * HD * 4);
            for (long i = q0; i < q1; i += R) {
                long m = reach(*l, i, q1);
                const float *qi = w.q.data() + (i - q0) * HD, *gi = w.go.data() + (i - q0) * HD;
                dots(qi, w.kt.data(), w.stride, m, w.s.data());
                dots(gi, w.vt.data(), w.stride, m, w.d.data());
                for (long r = 0; r < R; r++) {
                    float *s = w.s.data() + r * w.stride, *d = w.d.data() + r * w.stride, t = 0;
                    if (i + r >= q1) {
                        memset(s, 0, m * 4), memset(d, 0, m * 4);
                        continue;
                    }
                    hide(*l, i + r, s, m);
                    float z = lse[(i + r) * heads + h];
                    const bf16* o = out + ((i + r) * heads + h) * HD;
                    for (int c = 0; c < HD; c++) t += up(o[c]) * gi[r * HD + c];
                    for (long j = 0; j < m; j++) {
                        s[j] = s[j] < -1e29f ? 0.0f : fast_exp(s[j] - z);
                        d[j] = s[j] * (d[j] - t);
                    }
                }
                mix(w.d.data(), w.stride, m, w.k.data(), w.dq.data() + (i - q0) * HD);
                spread(w.d.data(), w.stride, m, qi, w.dk.data());
                spread(w.s.data(), w.stride, m, gi, w.dv.data());
            }
            scatter(w.dq.data(), q1 - q0, l->query_pos + q0, table, 1.0f / sqrtf(HD), dq + q0 * q_stride + h * HD, q_stride);
            scatter(w.dk.data(), w.keys, l->key_pos + k0, table, 1.0f, dk + k0 * kv_stride + h * HD, kv_stride);
            scatter(w.dv.data(), w.keys, nullptr, nullptr, 1.0f, dv + k0 * kv_stride + h * HD, kv_stride);
        }
}
// Sum of the losses in nats; logits [n, v] become their gradient times `scale`.
double cross_entropy(bf16* logits, const int* targets, long n, long v, float scale) {
    std::vector<float> p(v);
    double total = 0;
    for (long i = 0; i < n; i++, logits += v) {
        float top = -1e30f, sum = 0;
        for (long c = 0; c < v; c++) p[c] = up(logits[c]), top = p[c] > top ? p[c] : top;
        float own = p[targets[i]] - top;
        for (long c = 0; c < v; c++) sum += p[c] = fast_exp(p[c] - top);
        total += logf(sum) - own;
        p[targets[i]] -= sum;
        for (long c = 0; c < v; c++) logits[c] = down(p[c] * (scale / sum));
    }
    return total;
}
void add_rows(float* grad, const float* dx, const int* rows, long n, long d) {  // grad[rows[i]] += dx[i]
    for (long i = 0; i < n; i++)
        for (long c = 0; c < d; c++) grad[rows[i] * d + c] += dx[i * d + c];
}
void take_rows(const float* table, const int* rows, float* x, long n, long d) {
    for (long i = 0; i < n; i++) memcpy(x + i * d, table + rows[i] * d, d * 4);
}
void add_half(float* grad, const bf16* part, long n) {
    for (long i = 0; i < n; i++) grad[i] += up(part[i]);
}
}
