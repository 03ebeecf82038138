#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace roster::crypto {

inline constexpr std::size_t kSha256Bytes = 32;

/// SHA-256 (FIPS 180-4): 32 raw bytes.
std::string sha256(std::string_view bytes);

/// HMAC-SHA-256 (RFC 2104): 32 raw bytes.
std::string hmac_sha256(std::string_view key, std::string_view message);

/// SHA-256 of what does not fit, or does not lie, in one piece.
class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  /// 32 raw bytes; afterwards the object is as new.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace roster::crypto
