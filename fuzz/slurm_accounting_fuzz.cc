// What slurmrestd, sacctmgr and scontrol may answer about the accounting. The first byte says of
// what.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "slurm/accounting_answers.h"

namespace {

using namespace roster;

/// Names go into commands, targets and sentences.
void must_be_name(std::string_view name) {
  if (name.empty() || name.size() > 256) std::abort();
  for (const char c : name) {
    if (c <= ' ' || c > '~' || c == ',' || c == '|' || c == '\'' || c == '"') std::abort();
  }
}

void check_rows(const Result<std::vector<slurm::AssociationRow>>& rows) {
  if (!rows) return;
  for (const slurm::AssociationRow& row : *rows) {
    must_be_name(row.account);
    if (!row.user.empty()) must_be_name(row.user);
    for (const auto& [setting, value] : row.settings) {
      if (value.empty() || value == slurm::accounting::default_of(setting)) std::abort();
    }
  }
}

void read_text(std::uint8_t kind, std::string_view text) {
  if (kind == 5) check_rows(slurm::associations_in(text));
  if (kind == 6) {
    if (const auto defaults = slurm::default_accounts_in(text)) {
      for (const auto& [user, account] : *defaults) must_be_name(user);
    }
  }
  if (kind == 7) {
    if (const auto users = slurm::controller_users_in(text)) {
      for (const auto& [name, user] : *users) must_be_name(name);
    }
  }
}

void read_object(std::uint8_t kind, const json::object& body) {
  if (kind == 0) check_rows(slurm::associations_of(body, "lab"));
  if (kind == 1) {
    const auto accounts = slurm::accounts_of(body, "lab");
    if (accounts && accounts->empty()) std::abort();
  }
  if (kind == 2) {
    const auto users = slurm::users_of(body);
    if (users && users->empty()) std::abort();
  }
  if (kind == 3) {
    const auto qos = slurm::qos_of(body);
    if (qos && qos->empty()) std::abort();
  }
  if (kind == 4) {
    if (const auto jobs = slurm::jobs_of(body, {{20001, "alice"}})) {
      for (const auto& job : *jobs) {
        if (job.id == 0) std::abort();
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t kind = data[0] - '0';
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (kind >= 5) {
    read_text(kind, text);
    return 0;
  }
  const auto value = json::parse(text);
  if (value && value->is_object()) read_object(kind, value->get_object());
  return 0;
}
