// Any text as a cluster's accounting rules: refused, or rules that can be applied to a directory
// and planned against a cluster.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "reconcile/accounting.h"
#include "slurm/rules.h"

namespace {

using namespace roster;

slurm::Facts facts() {
  slurm::Facts out{.organization = "acme", .people = {}, .groups = {}};
  for (const char* name : {"physics", "acct-chem", "acct-chem.", "root", "science"}) {
    const auto number = static_cast<std::int64_t>(out.groups.size() + 1);
    out.groups.push_back({.number = number,
                          .posix_name = name,
                          .display_name = name,
                          .created = from_millis(number),
                          .client = "okta",
                          .external_id = name});
  }
  out.people.push_back({.number = 1, .login = "ada", .uid = 20001, .groups = {1, 2, 3, 4, 5}});
  out.people.push_back({.number = 2, .login = "bob", .uid = 20002, .locked = true, .groups = {1}});
  out.people.push_back({.number = 3, .login = "carol", .uid = 20003, .groups = {}});
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto rules = slurm::parse_rules(text, "rules.toml");
  if (!rules) {
    CHECK(rules.error().message.starts_with("rules.toml:"));
    return 0;
  }
  static const slurm::Facts kFacts = facts();
  const slurm::Outcome outcome = slurm::apply_rules(*rules, kFacts);
  for (const auto& [name, account] : outcome.desired.accounts) {
    CHECK(!name.empty() && name != "root" && slurm::account_name(name) == name);
  }
  CHECK(slurm::explain(*rules, kFacts, "ada").has_value());
  CHECK(reconcile::accounting::plan(outcome.desired, {}, {}, {}).has_value());
  return 0;
}
