// Image headers and everything that they lead to, from bytes that nobody wrote as a cache. The size
// and the CRC are made right, or nothing behind them would ever be reached.

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "base/result.h"
#include "nsscache/decode.h"
#include "nsscache/generation.h"

namespace {

using namespace roster::nsscache;

constexpr std::uint32_t kWalkMax = 64;

/// Touches every record that the indexes and tables lead to.
void walk(const Image& image) {
  const Generation both{image, image};
  for (std::uint32_t i = 0; i < image.header->user_count && i < kWalkMax; ++i) {
    if (image.user_index.bytes != 0) {
      if (const UserRecord* user = user_by_ordinal(image, i)) {
        gid_list(image, *user);
        (void)decode_user(image, *user);
        is_current(both, *user);
      }
    }
    if (image.key_index.bytes != 0) {
      if (const KeysRecord* keys = keys_by_ordinal(image, i)) (void)decode_keys(*keys);
    }
  }
  for (std::uint32_t i = 0; i < image.header->group_count && i < kWalkMax; ++i) {
    if (image.group_index.bytes == 0) break;
    if (const GroupRecord* group = group_by_ordinal(image, i)) {
      for (const bool in_delta : {false, true}) {
        const MemberLists lists = locate_members(both, {Found::kYes, in_delta, group, nullptr});
        if (lists.found == Found::kYes) verify_members(both, lists.base);
      }
    }
  }
  for (std::uint32_t i = 0; i < image.header->mark_count && i < kWalkMax; ++i) {
    if (image.mark_index.bytes != 0) mark_by_ordinal(image, i);
  }
  if (image.by_name.bytes != 0) {
    find_user(both, "alice", 5);
    find_group(both, std::uint32_t{10001});
  }
  if (image.by_number.bytes != 0) find_keys(image, image, 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size >= sizeof(Control)) {
    Control control;
    std::memcpy(&control, data, sizeof control);
    control_is_sound(control);
  }
  if (size < sizeof(ImageHeader)) return 0;
  auto* copy = static_cast<std::uint8_t*>(std::aligned_alloc(64, (size + 63) / 64 * 64));
  CHECK(copy != nullptr);
  std::memcpy(copy, data, size);
  auto& header = *reinterpret_cast<ImageHeader*>(copy);
  header.major = kMajor;
  header.file_bytes = size;
  header.must_understand = 0;
  if (header.header_bytes >= kHeaderBytes && header.header_bytes <= size) {
    header.header_crc = 0;
    header.header_crc = header_crc32c(copy, header.header_bytes);
  }
  for (const auto& magic : {kBaseMagic, kDeltaMagic, kKeyBaseMagic, kKeysMagic}) {
    if (std::memcmp(header.magic, magic, sizeof header.magic) != 0) continue;
    char wanted[8];
    std::memcpy(wanted, magic, sizeof wanted);
    const Image image = parse_image(copy, size, wanted);
    if (image.header != nullptr) walk(image);
  }
  std::free(copy);
  return 0;
}
