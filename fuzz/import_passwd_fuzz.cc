// passwd(5) and group(5) files from outside; the text up to the first form feed is the former.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/unicode.h"
#include "sync/import_list.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roster::sync;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(text.find('\f'), text.size());
  ImportList list;
  add_import_text(list, ImportFormat::kPasswd, "p", text.substr(0, cut), false, {});
  add_import_text(list, ImportFormat::kPasswd, "g", text.substr(std::min(cut + 1, text.size())),
                  true, {});
  if (!finish_import(list, {})) std::abort();
  bool people = false;
  for (const Imported& entry : list.entries) {
    people = people || !entry.is_group;
    if (people && entry.is_group) std::abort();
    if (entry.number < 1000 || entry.name.empty() || entry.name.contains(':') ||
        roster::has_control_characters(entry.home) || !roster::is_valid_utf8(entry.gecos)) {
      std::abort();
    }
  }
  (void)clashes_within(list);
  return 0;
}
