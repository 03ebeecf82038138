#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace roster::crypto {

/// Hash of one row of an append-only log, over the previous row's hash and this row's fields, so
/// that a changed, removed, inserted or reordered row changes every later hash.
///
/// `previous`: the 32 raw bytes of the row before, or empty for the first row.
/// `fields`: always the same columns in the same order; an erasable column takes part by its own
/// SHA-256, so that its content can go while the chain stays verifiable.
/// Returns 32 raw bytes: SHA-256("roster-chain-1\n" || item(previous) || u64 count ||
/// item(field)...) with item(x) = u64 length || x and every u64 little-endian. The lengths and the
/// count make the encoding injective: no two different lists of fields give the same input.
std::string chain_hash(std::string_view previous, std::span<const std::string_view> fields);
std::string chain_hash(std::string_view previous, std::initializer_list<std::string_view> fields);

}  // namespace roster::crypto
