// Comma-separated files from outside: read, and what was read comes back after writing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "sync/csv.h"
#include "sync/import_list.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roster::sync;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto rows = parse_csv(text)) {
    for (const CsvRow& row : *rows) {
      std::string line;
      for (const std::string& field : row.fields) {
        line += (line.empty() ? "" : ",") + (field.empty() ? "\"\"" : csv_field(field));
      }
      // Not as the first row, where a byte order mark is none of the text.
      const auto again = parse_csv("x\n" + line + "\n");
      if (!again || again->size() != 2 || again->back().fields != row.fields) std::abort();
    }
  }
  ImportList list;
  add_import_text(list, ImportFormat::kCsv, "f", text, false, {});
  if (!finish_import(list, {})) std::abort();
  for (const Imported& entry : list.entries) {
    if (entry.number < 1000 || entry.name.empty()) std::abort();
  }
  for (const ListClash& clash : clashes_within(list)) {
    if (clash.owner >= clash.entry) std::abort();
  }
  return 0;
}
