#include "nsscache/copy_ids.h"

#include <cstring>

#include "nsscache/image.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace roster::nsscache {
namespace {

constexpr std::uint32_t kIdsPerRound = 8;  // 32 bytes: one round of Check64

/// The ids after the last whole round, and the result.
CopiedIds finish(Check64 check, bool has_system_id, const std::uint8_t* items, std::uint32_t count,
                 std::uint32_t* out) {
  const std::uint32_t done = count - count % kIdsPerRound;
  const std::size_t rest = (count - done) * sizeof(std::uint32_t);
  if (rest > 0) {
    std::memcpy(out + done, items + std::size_t{done} * sizeof(std::uint32_t), rest);
    check.update(out + done, rest);
  }
  for (std::uint32_t i = done; i < count; ++i) has_system_id |= is_system_id(out[i]);
  return {check.result(), has_system_id};
}

#ifdef __x86_64__
/// Four lanes are one register.
[[gnu::target("avx2")]] CopiedIds copy_ids_avx2(const std::uint8_t* items, std::uint32_t count,
                                                std::uint64_t salt, std::uint32_t* out) {
  __m256i sum = _mm256_setzero_si256();
  __m256i sums = sum;
  __m256i small = sum;
  const __m256i limit = _mm256_set1_epi32(kSystemIdsEnd);
  for (std::uint32_t i = 0; i + kIdsPerRound <= count; i += kIdsPerRound) {
    const __m256i words =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(items + std::size_t{i} * 4));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), words);
    sum = _mm256_add_epi64(sum, words);
    sums = _mm256_add_epi64(sums, sum);
    small = _mm256_or_si256(small, _mm256_cmpgt_epi32(limit, words));
  }
  alignas(32) std::uint64_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + 4), sums);
  const bool has_system_id = _mm256_testz_si256(small, small) == 0;
  return finish(Check64(salt, lanes, lanes + 4), has_system_id, items, count, out);
}
#endif

}  // namespace

CopiedIds copy_ids_plain(const std::uint8_t* items, std::uint32_t count, std::uint64_t salt,
                         std::uint32_t* out) {
  const std::uint32_t whole = count - count % kIdsPerRound;
  Check64 check(salt);
  check.update(items, std::size_t{whole} * sizeof(std::uint32_t));
  bool has_system_id = false;
  for (std::uint32_t i = 0; i < whole; ++i) {
    std::memcpy(out + i, items + std::size_t{i} * sizeof(std::uint32_t), sizeof(std::uint32_t));
    has_system_id |= is_system_id(out[i]);
  }
  return finish(check, has_system_id, items, count, out);
}

CopiedIds copy_ids(const std::uint8_t* items, std::uint32_t count, std::uint64_t salt,
                   std::uint32_t* out) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return copy_ids_avx2(items, count, salt, out);
#endif
  return copy_ids_plain(items, count, salt, out);
}

}  // namespace roster::nsscache
