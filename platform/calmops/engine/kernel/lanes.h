// Defines sixteen float lanes, and how weights of each type are multiplied by activations. This file and tiles.h alone
// name an instruction set.
//
// A block of weights is 16 outputs wide: each lane owns one output, so a sum over k never crosses lanes and its order
// never depends on how many rows or blocks are computed side by side. Within a block, k goes in pairs.
//   bf16   [pair][16 outputs][2]       float32, int8   [pair][2][16 outputs]
#pragma once
#include <immintrin.h>

#include <bit>
#include <cstdint>
#include <cstring>

#ifdef __AMX_BF16__
#define CALMOPS_AMX 1
#else
#define CALMOPS_AMX 0
#endif
// Where there are tiles, a sum of products in lanes is slower than widening.
#if defined(__AVX512BF16__) && !CALMOPS_AMX
#define CALMOPS_BF16_DOT 1
#else
#define CALMOPS_BF16_DOT 0
#endif

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

namespace calmops {

constexpr int kLanes = 16;

#ifdef __AVX512F__

struct F16 {
  __m512 v;
};
constexpr int kMostRows = 12;  // rows of a tile: its sums must stay in registers
// Blocks side by side in a tile of `rows` rows: as many as the registers hold, so that few rows still overlap sums.
constexpr int blocks_beside(int rows) { return rows <= 5 ? 4 : 2; }
INLINE F16 splat(float x) { return {_mm512_set1_ps(x)}; }
INLINE F16 spread(const float& x) { return splat(x); }
INLINE F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
INLINE void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
INLINE F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
INLINE F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
INLINE F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
INLINE F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
INLINE F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
INLINE void add_product(F16& sum, F16 a, F16 b) { sum.v = _mm512_fmadd_ps(a.v, b.v, sum.v); }
INLINE F16 nearest(F16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// a * 2^n for whole n in [-126, 127]
INLINE F16 scale_by_power(F16 a, F16 n) {
  const __m512i bits = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(bits))};
}
INLINE F16 widen(const uint16_t* p) {  // 16 bf16
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
// One k of a pair of weights: the first of them, or the second.
INLINE F16 first(const uint16_t* p) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))}; }
INLINE F16 second(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(int(0xffff0000))))};
}
INLINE F16 widen(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}

#else

struct F16 {
  __m256 lo, hi;
};
constexpr int kMostRows = 6;
constexpr int blocks_beside(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
INLINE F16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
// Splats a value in memory, read each time it is used, since registers are for sums.
INLINE F16 spread(const float& x) {
  __m256 all;
  asm volatile("vbroadcastss %1, %0" : "=x"(all) : "m"(x));
  return {all, all};
}
INLINE F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void store(float* p, F16 a) { _mm256_storeu_ps(p, a.lo), _mm256_storeu_ps(p + 8, a.hi); }
INLINE F16 operator+(F16 a, F16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
INLINE F16 operator-(F16 a, F16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
INLINE F16 operator*(F16 a, F16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
INLINE F16 operator/(F16 a, F16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
INLINE F16 max(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
// Computes sum += a * b in place; otherwise the compiler moves sums of a full tile to other registers and runs out of
// them.
INLINE void add_product(F16& sum, F16 a, F16 b) {
  asm("vfmadd231ps %1, %2, %0" : "+x"(sum.lo) : "x"(a.lo), "x"(b.lo));
  asm("vfmadd231ps %1, %2, %0" : "+x"(sum.hi) : "x"(a.hi), "x"(b.hi));
}
INLINE F16 nearest(F16 a) {
  constexpr int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, how), _mm256_round_ps(a.hi, how)};
}
INLINE __m256 power_of_two(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
INLINE F16 scale_by_power(F16 a, F16 n) {
  return {_mm256_mul_ps(a.lo, power_of_two(n.lo)), _mm256_mul_ps(a.hi, power_of_two(n.hi))};
}
INLINE __m256 widen_half(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
INLINE F16 widen(const uint16_t* p) { return {widen_half(p), widen_half(p + 8)}; }
INLINE __m256i eight(const uint16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
INLINE __m256 first_half(const uint16_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(eight(p), 16)); }
alignas(32) constexpr uint32_t kUpperHalves[8] = {0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000,
                                                  0xffff0000, 0xffff0000, 0xffff0000, 0xffff0000};
// The mask stays in memory, since a full tile needs every register.
INLINE __m256 second_half(const uint16_t* p) {
  __m256 upper;
  asm("vpand %1, %2, %0" : "=x"(upper) : "m"(kUpperHalves), "x"(eight(p)));
  return upper;
}
INLINE F16 first(const uint16_t* p) { return {first_half(p), first_half(p + 16)}; }
INLINE F16 second(const uint16_t* p) { return {second_half(p), second_half(p + 16)}; }
INLINE __m256 widen_half(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
INLINE F16 widen(const int8_t* p) { return {widen_half(p), widen_half(p + 8)}; }

#endif

INLINE F16 first(const float* p) { return load(p); }
INLINE F16 second(const float* p) { return load(p + kLanes); }
INLINE F16 first(const int8_t* p) { return widen(p); }
INLINE F16 second(const int8_t* p) { return widen(p + kLanes); }

INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

// Adds up the lanes, always in this order.
INLINE float sum(F16 a) {
  float x[kLanes];
  store(x, a);
  for (int width = kLanes / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}
INLINE float largest(F16 a) {
  float x[kLanes];
  store(x, a);
  for (int width = kLanes / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
  return x[0];
}

// Computes e^x to about 1e-7 relative; x below -87 counts as -87.
INLINE F16 exp(F16 x) {
  const F16 clamped = max(x, splat(-87.0f));
  const F16 n = nearest(clamped * splat(1.44269504f));
  F16 r = fma(n, splat(-0.693145752f), clamped);
  r = fma(n, splat(-1.42860677e-6f), r);
  F16 p = splat(1.98756912e-4f);
  p = fma(p, r, splat(1.39819994e-3f));
  p = fma(p, r, splat(8.33345205e-3f));
  p = fma(p, r, splat(4.16657962e-2f));
  p = fma(p, r, splat(1.66666657e-1f));
  p = fma(p, r, splat(5.00000000e-1f));
  p = fma(p, r * r, r) + splat(1.0f);
  return scale_by_power(p, n);
}

// Computes the natural logarithm of normal positive numbers, to about 1e-7.
INLINE F16 log(F16 x) {
  float value[kLanes], exponent[kLanes];
  store(value, x);
  for (int i = 0; i < kLanes; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(value[i]) - 0x3f3504f3u;  // the mantissa from sqrt(1/2) to sqrt(2)
    exponent[i] = float(int32_t(bits) >> 23);
    value[i] = std::bit_cast<float>((bits & 0x007fffffu) + 0x3f3504f3u);
  }
  const F16 n = load(exponent), m = load(value) - splat(1.0f), z = m * m;
  F16 p = splat(7.0376836292e-2f);
  for (const float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                        -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    p = fma(p, m, splat(c));
  const F16 y = fma(n, splat(-2.12194440e-4f), p * m * z) - z * splat(0.5f);
  return fma(n, splat(0.693359375f), m + y);
}

INLINE uint16_t to_bf16(float x) {  // round to nearest, ties to even
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifdef __AVX512BF16__
INLINE void keep_lanes(uint16_t* p, F16 a) {
  _mm256_storeu_si256((__m256i*)p, std::bit_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}
#endif

// Says how a weight type multiplies. A panel holds the activations of a few rows: [k][rows] of Act, kSteps per pair.
template <class W>
struct FloatProduct {
  using Act = float;
  static constexpr int kSteps = 2;
  using Operand = F16;
  template <int step>
  static INLINE Operand operand(const W* p) {
    return step ? second(p) : first(p);
  }
  static INLINE Operand spread(const Act& a) { return calmops::spread(a); }
  static INLINE void add(F16& sum, Operand w, Operand a) { add_product(sum, w, a); }
  // Puts sixteen values of one row, from k on; `panel` points to the row's first entry.
  static INLINE void put(Act* panel, int rows, int k, F16 values) {
    float x[kLanes];
    store(x, values);
    for (int i = 0; i < kLanes; ++i) panel[(k + i) * rows] = x[i];
  }
};

template <class W>
struct Product;
template <>
struct Product<float> : FloatProduct<float> {
  using Cached = float;
};

#if CALMOPS_BF16_DOT

template <class W>
struct DotProduct {
  using Act = uint32_t;  // two bf16
  static constexpr int kSteps = 1;
  using Operand = __m512bh;
  template <int step>
  static INLINE Operand operand(const uint16_t* p) {
    return std::bit_cast<__m512bh>(_mm512_loadu_si512(p));
  }
  // Whole numbers up to 127 are bf16 exactly: the upper half of a float.
  template <int step>
  static INLINE Operand operand(const int8_t* p) {
    const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(first(p).v), 16);
    return std::bit_cast<__m512bh>(_mm512_or_si512(low, _mm512_castps_si512(second(p).v)));
  }
  static INLINE Operand spread(const Act& a) { return std::bit_cast<__m512bh>(_mm512_set1_epi32(int(a))); }
  static INLINE void add(F16& sum, Operand w, Operand a) { sum.v = _mm512_dpbf16_ps(sum.v, w, a); }
  static INLINE void put(Act* panel, int rows, int k, F16 values) {
    float x[kLanes];
    store(x, values);
    for (int i = 0; i < kLanes; i += 2)
      panel[(k + i) / 2 * rows] = uint32_t(to_bf16(x[i])) | uint32_t(to_bf16(x[i + 1])) << 16;
  }
};
template <class W>
using HalfProduct = DotProduct<W>;

#else

template <class W>
using HalfProduct = FloatProduct<W>;

#endif

template <>
struct Product<uint16_t> : HalfProduct<uint16_t> {
  using Cached = uint16_t;
};
template <>
struct Product<int8_t> : HalfProduct<int8_t> {
  using Cached = uint16_t;
};

// Says where (output, k) lies in a block, and how a float is kept there.
INLINE int place(const uint16_t*, int output, int k) { return k / 2 * 2 * kLanes + output * 2 + k % 2; }
INLINE int place(const float*, int output, int k) { return k * kLanes + output; }
INLINE void keep(uint16_t* p, float x) { *p = to_bf16(x); }
INLINE void keep(float* p, float x) { *p = x; }
INLINE F16 row_of(const uint16_t* p) { return widen(p); }
INLINE F16 row_of(const float* p) { return load(p); }

}  // namespace calmops
