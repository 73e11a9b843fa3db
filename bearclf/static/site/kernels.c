// Where pictures and networks in eight bits spend their time: called by kernels.js, from several threads at once, each
// with its part, `from`...`to`. Threads have one memory, so nothing here may be kept or lie on a stack: there is none
// (stack-size=0), and what would need one fails at once.
//
// A network's pictures are rows of pixels, and a pixel its channels (NHWC); a byte is what it is in ONNX, less 128.
// Sums are exact. They are scaled, and rounded to even, as onnxruntime does it: so all bytes are the same as there.
//
// After a change: .ci/kernels

#include <wasm_simd128.h>

typedef signed char int8;
typedef unsigned char uint8;
typedef v128_t vec;

#define EXPORT(name) __attribute__((export_name(#name))) void name

// Four whole numbers or four floats at a time

// `sum`, and for each of its lanes the products of four bytes of `a` and four of `b`, which are 0 to 127: one
// instruction of relaxed SIMD, made for such products; where a browser has none, seven.
static inline vec dot4(vec a, vec b, vec sum) {
#ifdef __wasm_relaxed_simd__
    return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, sum);
#else
    vec low = wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extmul_low_i8x16(a, b));
    vec high = wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_extmul_high_i8x16(a, b));
    vec even = wasm_i32x4_shuffle(low, high, 0, 2, 4, 6), odd = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);
    return wasm_i32x4_add(sum, wasm_i32x4_add(even, odd));
#endif
}

static inline vec scaled(vec sum, vec scale) { return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sum), scale); }

// Floats below 2**22 as whole numbers, half to even, plus `zero`: a float of 1.5 * 2**23 and more has no digits behind
// the point, and its bits count on as whole numbers do.
static inline vec rounded(vec x, int zero) {
    vec big = wasm_f32x4_splat(12582912);
    return wasm_i32x4_sub(wasm_f32x4_add(x, big), wasm_i32x4_sub(big, wasm_i32x4_splat(zero)));
}

// Eight numbers as bytes, the nearest there are.
static inline void put8(int8 *y, vec a, vec b) {
    vec both = wasm_i16x8_narrow_i32x4(a, b);
    wasm_v128_store64_lane(y, wasm_i8x16_narrow_i16x8(both, both), 0);
}

static inline void put_scaled(int8 *y, vec a, vec b, const float *scale, int zero) {
    put8(y, rounded(scaled(a, wasm_v128_load(scale)), zero), rounded(scaled(b, wasm_v128_load(scale + 4)), zero));
}

// Networks

#define FOUR _Pragma("unroll") for (int q = 0; q < 4; q++) // pixels that a kernel looks at together, written out

typedef struct { int out, in; } More; // a weight that is one more than it says, as seven bits do not hold 64

// A convolution of 1 x 1: `outs` sums of `ins` products for each pixel. Weights are 64 more than they are, eight outs
// by four ins together; `more` are in the order of outs, the last beyond them all.
EXPORT(pointwise)(int from, int to, const int8 *x, int ins, int outs, const uint8 *weights, const More *more,
                  const int *bias, const float *scale, int zero, int8 *y) {
    vec low = wasm_i32x4_const(0, 1, 2, 3), high = wasm_i32x4_const(4, 5, 6, 7);
    for (int pixel = from; pixel < to; pixel += 4) {
        const int8 *px[4];
        vec extra[4], a[4], b[4]; // what the 64 add; sums of four outs and of four more
        FOUR px[q] = x + (pixel + q)*ins, extra[q] = wasm_i32x4_splat(0);
        for (int i = 0; i < ins; i += 4)
            FOUR extra[q] = dot4(wasm_v128_load32_splat(px[q] + i), wasm_i8x16_splat(64), extra[q]);
        const uint8 *w = weights;
        const More *m = more;
        for (int n = 0; n < outs; n += 8) {
            FOUR a[q] = wasm_i32x4_sub(wasm_v128_load(bias + n), extra[q]);
            FOUR b[q] = wasm_i32x4_sub(wasm_v128_load(bias + n + 4), extra[q]);
            for (int i = 0; i < ins; i += 4, w += 32) {
                vec wa = wasm_v128_load(w), wb = wasm_v128_load(w + 16);
                FOUR {
                    vec v = wasm_v128_load32_splat(px[q] + i);
                    a[q] = dot4(v, wa, a[q]), b[q] = dot4(v, wb, b[q]);
                }
            }
            for (; m->out < n + 8; m++) {
                vec here = wasm_i32x4_splat(m->out - n), is_a = wasm_i32x4_eq(here, low), is_b = wasm_i32x4_eq(here, high);
                FOUR {
                    vec v = wasm_i32x4_splat(px[q][m->in]);
                    a[q] = wasm_i32x4_add(a[q], wasm_v128_and(v, is_a)), b[q] = wasm_i32x4_add(b[q], wasm_v128_and(v, is_b));
                }
            }
            FOUR put_scaled(y + (pixel + q)*outs + n, a[q], b[q], scale + n, zero);
        }
    }
}

// All that one sum of a convolution of side x side needs, for each pixel of `from`...`to` rows: so it becomes one of
// 1 x 1. `length` is a multiple of four; what is outside of the picture is `fill`.
EXPORT(gathered)(int from, int to, const int8 *x, int height, int width, int channels, int columns, int side, int stride,
                 int top, int left, int fill, int length, int8 *y) {
    for (int row = from; row < to; row++) for (int column = 0; column < columns; column++) {
        int8 *to_y = y + (row*columns + column)*length;
        __builtin_memset(to_y, fill, length);
        for (int dy = 0; dy < side; dy++) for (int dx = 0; dx < side; dx++, to_y += channels) {
            int r = row*stride + dy - top, c = column*stride + dx - left;
            if (r < 0 || r >= height || c < 0 || c >= width) continue;
            for (int i = 0; i < channels; i++) to_y[i] = x[(r*width + c)*channels + i];
        }
    }
}

// The same picture with a border of `fill`; `from`...`to` are rows of the result.
EXPORT(framed)(int from, int to, const int8 *x, int height, int width, int channels, int top, int left, int right,
               int fill, int8 *y) {
    int before = left*channels, middle = width*channels, after = right*channels, all = before + middle + after;
    for (int row = from; row < to; row++) {
        int8 *line = y + row*all;
        if (row < top || row >= top + height) { __builtin_memset(line, fill, all); continue; }
        __builtin_memset(line, fill, before);
        __builtin_memcpy(line + before, x + (row - top)*middle, middle);
        __builtin_memset(line + before + middle, fill, after);
    }
}

// A convolution of each channel alone, for rows of the result; the picture has its border. Weights are pairs of sixteen
// bits for eight channels; `at` says where their bytes are, and an odd last weight is beside a zero. Behind the last
// column it is looked at again.
EXPORT(depthwise)(int from, int to, const int8 *x, int width, int channels, int columns, int stride, const int *at,
                  int pairs, const short *weights, const int *bias, const float *scale, int zero, int8 *y) {
    for (int row = from; row < to; row++) for (int column = 0; column < columns; column += 4) {
        const int8 *px[4];
        int8 *py[4];
        FOUR {
            int c = column + q < columns ? column + q : columns - 1;
            px[q] = x + (row*width + c)*stride*channels, py[q] = y + (row*columns + c)*channels;
        }
        const short *w = weights;
        for (int n = 0; n < channels; n += 8) {
            vec a[4], b[4];
            FOUR a[q] = wasm_v128_load(bias + n), b[q] = wasm_v128_load(bias + n + 4);
            for (int i = 0; i < pairs; i++, w += 16) {
                vec wa = wasm_v128_load(w), wb = wasm_v128_load(w + 8);
                FOUR {
                    vec u = wasm_i16x8_load8x8(px[q] + n + at[2*i]), v = wasm_i16x8_load8x8(px[q] + n + at[2*i + 1]);
                    vec low = wasm_i16x8_shuffle(u, v, 0, 8, 1, 9, 2, 10, 3, 11), high = wasm_i16x8_shuffle(u, v, 4, 12, 5, 13, 6, 14, 7, 15);
                    a[q] = wasm_i32x4_add(a[q], wasm_i32x4_dot_i16x8(low, wa));
                    b[q] = wasm_i32x4_add(b[q], wasm_i32x4_dot_i16x8(high, wb));
                }
            }
            FOUR put_scaled(py[q] + n, a[q], b[q], scale + n, zero);
        }
    }
}

static inline void widened(const int8 *x, vec *a, vec *b) { // eight bytes
    vec v = wasm_i16x8_load8x8(x);
    *a = wasm_i32x4_extend_low_i16x8(v);
    *b = wasm_i32x4_extend_high_i16x8(v);
}

// Averages of side x side pixels, for rows of the result: of floats one after another, as onnxruntime has them. The
// zero of what comes out is that of ONNX.
EXPORT(pooled)(int from, int to, const int8 *x, int width, int channels, int columns, int side, int stride,
               float scale_x, float scale_y, int zero_x, int zero_y, int8 *y) {
    vec sx = wasm_f32x4_splat(scale_x), sy = wasm_f32x4_splat(scale_y), zx = wasm_i32x4_splat(zero_x);
    vec zy = wasm_f32x4_splat(zero_y), area = wasm_f32x4_splat(side*side);
    for (int row = from; row < to; row++) for (int column = 0; column < columns; column++) for (int n = 0; n < channels; n += 8) {
        vec a = wasm_f32x4_splat(0), b = a, u, v;
        for (int dy = 0; dy < side; dy++) for (int dx = 0; dx < side; dx++) {
            widened(x + ((row*stride + dy)*width + column*stride + dx)*channels + n, &u, &v);
            a = wasm_f32x4_add(a, scaled(wasm_i32x4_sub(u, zx), sx)), b = wasm_f32x4_add(b, scaled(wasm_i32x4_sub(v, zx), sx));
        }
        a = wasm_f32x4_add(wasm_f32x4_div(wasm_f32x4_div(a, area), sy), zy), b = wasm_f32x4_add(wasm_f32x4_div(wasm_f32x4_div(b, area), sy), zy);
        put8(y + (row*columns + column)*channels + n, rounded(a, -128), rounded(b, -128));
    }
}

// a*b + c, rounded once, as processors with such an instruction do it.
static inline vec fused(vec a, vec b, vec c) {
#ifdef __wasm_relaxed_simd__
    return wasm_f32x4_relaxed_madd(a, b, c);
#else
    vec part[2]; // in floats of 64 bits
    for (int i = 0; i < 2; i++) {
        part[i] = wasm_f32x4_demote_f64x2_zero(wasm_f64x2_add(wasm_f64x2_mul(
            wasm_f64x2_promote_low_f32x4(a), wasm_f64x2_promote_low_f32x4(b)), wasm_f64x2_promote_low_f32x4(c)));
        a = wasm_i64x2_shuffle(a, a, 1, 1), b = wasm_i64x2_shuffle(b, b, 1, 1), c = wasm_i64x2_shuffle(c, c, 1, 1);
    }
    return wasm_i64x2_shuffle(part[0], part[1], 0, 2);
#endif
}

// The sum of two pictures whose bytes stand for different steps, eight bytes at a time; zeros, in `rest`, are those of
// ONNX.
EXPORT(added)(int from, int to, const int8 *a, const int8 *b, float scale_a, float scale_b, float rest, int8 *y) {
    vec sa = wasm_f32x4_splat(scale_a), sb = wasm_f32x4_splat(scale_b), rests = wasm_f32x4_splat(rest), more = wasm_i32x4_splat(128);
    for (int i = 8*from; i < 8*to; i += 8) {
        vec u[2], v[2], sum[2];
        widened(a + i, &u[0], &u[1]);
        widened(b + i, &v[0], &v[1]);
        _Pragma("unroll") for (int q = 0; q < 2; q++) {
            vec x = wasm_f32x4_convert_i32x4(wasm_i32x4_add(u[q], more)), z = wasm_f32x4_convert_i32x4(wasm_i32x4_add(v[q], more));
            sum[q] = rounded(fused(x, sa, fused(z, sb, rests)), -128);
        }
        put8(y + i, sum[0], sum[1]);
    }
}

// Photographs: four bytes a pixel, red, green, blue and one that says nothing

static inline vec pixel(const uint8 *x) {
    return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(x)));
}

static inline void put_pixel(uint8 *y, vec v) {
    vec both = wasm_i16x8_narrow_i32x4(v, v);
    wasm_v128_store32_lane(y, wasm_u8x16_narrow_i16x8(both, both), 0);
}

// A weighted mean of pixels that are `step` bytes apart. Weights are whole numbers that add up to about 2**22, as
// Pillow has them; before them stand the first pixel and how many there are.
static inline vec mean(const uint8 *x, int step, const int *weights) {
    vec sum = wasm_i32x4_splat(1 << 21);
    const uint8 *p = x + weights[0]*step;
    for (int k = 0; k < weights[1]; k++, p += step)
        sum = wasm_i32x4_add(sum, wasm_i32x4_mul(pixel(p), wasm_i32x4_splat(weights[2 + k])));
    return wasm_i32x4_shr(sum, 22);
}

// `columns` means along each row; there are `length` numbers for each. A row of x has `pitch` bytes.
EXPORT(across)(int from, int to, const uint8 *x, int pitch, int columns, const int *weights, int length, uint8 *y) {
    for (int row = from; row < to; row++) for (int i = 0; i < columns; i++)
        put_pixel(y + 4*(row*columns + i), mean(x + row*pitch, 4, weights + i*length));
}

// Rows of the result, means of rows.
EXPORT(down)(int from, int to, const uint8 *x, int pitch, int columns, const int *weights, int length, uint8 *y) {
    for (int row = from; row < to; row++) for (int i = 0; i < columns; i++)
        put_pixel(y + 4*(row*columns + i), mean(x + 4*i, pitch, weights + row*length));
}

// Means of squares of 2**bits pixels each way, 2, 4 or 8; at the edges the last pixels count again.
EXPORT(averaged)(int from, int to, const uint8 *x, int height, int width, int bits, int columns, uint8 *y) {
    int s = 1 << bits;
    for (int row = from; row < to; row++) for (int column = 0; column < columns; column++) {
        vec sums = wasm_i16x8_splat(0); // of two neighbours' colours
        for (int dy = 0; dy < s; dy++) {
            const uint8 *line = x + 4*width*(row*s + dy < height ? row*s + dy : height - 1);
            vec last = wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(line + 4*(width - 1)));
            for (int c = column*s; c < column*s + s; c += 2)
                sums = wasm_i16x8_add(sums, c + 1 < width ? wasm_u16x8_load8x8(line + 4*c) : wasm_i16x8_add(last, last));
        }
        vec sum = wasm_i32x4_add(wasm_u32x4_extend_low_u16x8(sums), wasm_u32x4_extend_high_u16x8(sums));
        put_pixel(y + 4*(row*columns + column), wasm_i32x4_shr(wasm_i32x4_add(sum, wasm_i32x4_splat(s*s/2)), 2*bits));
    }
}
