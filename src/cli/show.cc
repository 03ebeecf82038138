#include "cli/show.h"

#include <CLI/CLI.hpp>

#include "cli/table.h"

namespace roster::cli {

std::string cell(const json::object& o, std::string_view name) {
  const json::value* v = json::find(o, name);
  if (v == nullptr || v->is_null()) return "";
  if (v->is_string()) return std::string(json::view(v->get_string()));
  if (v->is_bool()) return v->get_bool() ? "yes" : "no";
  return json::serialize(*v);
}

void print_table(Session& session, const json::array& items, const std::vector<Column>& columns) {
  std::vector<std::string> header;
  for (const Column& column : columns) header.emplace_back(column.title);
  Table table(std::move(header));
  for (const json::value& item : items) {
    std::vector<std::string> cells;
    for (const Column& column : columns) cells.push_back(cell(item.get_object(), column.member));
    table.add(std::move(cells));
  }
  session.out << table.render();
}

void print_json(Session& session, const json::object& answer) {
  session.out << json::serialize(answer) << '\n';
}

Result<void> print_list(Session& session, const json::object& answer, std::string_view member,
                        const std::vector<Column>& columns) {
  if (session.output == Output::kJson) {
    print_json(session, answer);
    return {};
  }
  const json::array* items = json::find_array(answer, member);
  if (items == nullptr) return fail(Code::kInternal, "the hub's answer lacks the list");
  print_table(session, *items, columns);
  return {};
}

Result<void> print_one(Session& session, const json::object& answer,
                       const std::vector<Column>& columns) {
  if (session.output == Output::kJson) {
    print_json(session, answer);
  } else {
    print_table(session, {answer}, columns);
  }
  return {};
}

CLI::App* family(CLI::App& app, const char* name, const char* description) {
  CLI::App* made = app.add_subcommand(name, description);
  made->require_subcommand(1);
  return made;
}

}  // namespace roster::cli
