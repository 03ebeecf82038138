#include "crypto/audit_chain.h"

#include <array>
#include <cstdint>

#include "base/result.h"
#include "crypto/hash.h"

namespace roster::crypto {
namespace {

void add_u64(Sha256& hash, std::uint64_t value) {
  std::array<char, 8> bytes;
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xFF);
    value >>= 8;
  }
  hash.update({bytes.data(), bytes.size()});
}

void add_item(Sha256& hash, std::string_view item) {
  add_u64(hash, item.size());
  hash.update(item);
}

}  // namespace

std::string chain_hash(std::string_view previous, std::span<const std::string_view> fields) {
  CHECK(previous.empty() || previous.size() == kSha256Bytes);
  Sha256 hash;
  hash.update("roster-chain-1\n");
  add_item(hash, previous);
  add_u64(hash, fields.size());
  for (const std::string_view field : fields) add_item(hash, field);
  return hash.finish();
}

std::string chain_hash(std::string_view previous, std::initializer_list<std::string_view> fields) {
  return chain_hash(previous, std::span(fields.begin(), fields.size()));
}

}  // namespace roster::crypto
