#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace roster::cli {

/// Text for people: left-aligned columns, two spaces apart, a header in capitals. Control
/// characters in cells become '?', so that a name from outside cannot drive the terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  /// As many cells as the header has.
  void add(std::vector<std::string> cells);
  std::string render() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace roster::cli
