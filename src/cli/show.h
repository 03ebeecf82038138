#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cli/commands.h"

// How commands show what the hub answers.

namespace roster::cli {

/// A member as a cell of a table: texts as they are, yes and no, nothing for null.
std::string cell(const json::object& o, std::string_view name);

struct Column {
  const char* title;
  const char* member;
};

void print_json(Session& session, const json::object& answer);
void print_table(Session& session, const json::array& items, const std::vector<Column>& columns);
/// The list in `answer[member]`, or the answer as it is.
Result<void> print_list(Session& session, const json::object& answer, std::string_view member,
                        const std::vector<Column>& columns);
Result<void> print_one(Session& session, const json::object& answer,
                       const std::vector<Column>& columns);

/// A command with subcommands of its own.
CLI::App* family(CLI::App& app, const char* name, const char* description);

}  // namespace roster::cli
