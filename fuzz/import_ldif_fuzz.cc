// LDIF exports from outside: read, and every value comes back after writing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sync/import_list.h"
#include "sync/ldif.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roster::sync;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto records = parse_ldif(text)) {
    for (const LdifRecord& record : *records) {
      std::string written = ldif_line("dn", record.dn);
      for (const auto& [name, value] : record.attributes) written += ldif_line(name, value);
      const auto again = parse_ldif(written);
      if (!again || again->size() != 1 || again->front().dn != record.dn ||
          again->front().attributes != record.attributes) {
        std::abort();
      }
    }
  }
  ImportList list;
  add_import_text(list, ImportFormat::kLdif, "f", text, false, {});
  if (!finish_import(list, {})) std::abort();
  for (const Imported& entry : list.entries) {
    if (entry.number < 1000 || entry.name.empty()) std::abort();
  }
  return 0;
}
