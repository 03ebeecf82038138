#include "scim/sort.h"

#include <algorithm>
#include <cstdint>

#include "base/time.h"
#include "base/unicode.h"
#include "scim/error.h"
#include "scim/value.h"

namespace roster::scim {
namespace {

/// The sub-attribute that a complex attribute stands for.
const Attribute* value_of(const Attribute& attribute) {
  return find_attribute(attribute.sub_attributes, "value");
}

/// The element that counts of a list, the value itself otherwise; null when there is none.
const json::value* main_value(const json::value& value) {
  if (!value.is_array()) return &value;
  const json::array& items = value.get_array();
  if (items.empty()) return nullptr;
  const auto* primary = std::ranges::find_if(items, [](const json::value& item) {
    return item.is_object() && json::find_bool(item.get_object(), "primary").value_or(false);
  });
  return primary != items.end() ? primary : items.begin();
}

/// Numbers so that their texts compare as they do.
std::string number_key(std::int64_t number) {
  const auto shifted = static_cast<std::uint64_t>(number) ^ (std::uint64_t{1} << 63U);
  std::string key(sizeof shifted * 2, '0');
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = "0123456789abcdef"[shifted >> (60U - 4U * i) & 0xfU];
  }
  return key;
}

std::string cut(std::string key) {
  if (key.size() <= kSortKeyBytesMax) return key;
  std::size_t end = kSortKeyBytesMax;
  while ((static_cast<unsigned char>(key[end]) & 0xc0U) == 0x80U) --end;  // a whole character
  key.resize(end);
  return key;
}

SortKey key_of(const Attribute& attribute, const json::value& value) {
  if (value.is_bool()) return value.get_bool() ? "1" : "0";
  if (value.is_int64()) return number_key(value.get_int64());
  if (value.is_uint64()) return number_key(static_cast<std::int64_t>(value.get_uint64()));
  if (!value.is_string()) return std::nullopt;
  const std::string_view text = json::view(value.get_string());
  if (attribute.type == Type::kDateTime) {
    if (const auto time = parse_rfc3339(text)) return number_key(to_millis(*time));
  }
  return cut(text_key(attribute, text));
}

}  // namespace

bool sorts_before(const SortKey& a, const SortKey& b, bool descending) {
  if (a.has_value() != b.has_value()) return a.has_value() != descending;
  if (!a) return false;
  return descending ? *b < *a : *a < *b;
}

Result<Sort> Sort::parse(const ResourceType& type, std::string_view sort_by) {
  const auto bad = [sort_by](std::string_view what) {
    return fail(Code::kInvalidArgument, "sortBy: " + std::string(sort_by) + std::string(what),
                kInvalidPath);
  };
  if (!is_attribute_path(sort_by)) return bad(" is not an attribute");
  Sort sort(type);
  sort.ref_ = resolve(type, sort_by);
  if (!sort.ref_) return sort;
  if (sort.ref_->attribute == nullptr) return bad(" is a whole schema");
  if (sort.ref_->leaf().type == Type::kComplex) {
    sort.ref_->sub = value_of(*sort.ref_->attribute);
    if (sort.ref_->sub == nullptr) return bad(" has no value of its own: name a sub-attribute");
  }
  return sort;
}

SortKey Sort::key(const json::object& resource) const {
  if (!ref_) return std::nullopt;
  const json::value* value = value_at(*type_, *ref_, resource);
  if (value != nullptr) value = main_value(*value);
  if (value != nullptr && ref_->sub != nullptr) {
    value = value->is_object() ? json::find(value->get_object(), ref_->sub->name) : nullptr;
  }
  return value != nullptr ? key_of(ref_->leaf(), *value) : std::nullopt;
}

Result<bool> parse_descending(std::optional<std::string_view> sort_order) {
  if (!sort_order || ascii_iequals(*sort_order, "ascending")) return false;
  if (ascii_iequals(*sort_order, "descending")) return true;
  return fail(Code::kInvalidArgument, "sortOrder is \"ascending\" or \"descending\"",
              kInvalidValue);
}

}  // namespace roster::scim
