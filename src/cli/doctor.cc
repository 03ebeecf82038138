#include "cli/doctor.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>

#include "base/json.h"
#include "base/time.h"
#include "base/unicode.h"
#include "cli/table.h"
#include "node/doctor.h"

namespace roster::cli {
namespace {

void print_text(Session& session, const std::vector<node::Finding>& findings) {
  Table table({"CHECK", "STATE", "DETAIL"});
  for (const node::Finding& finding : findings) {
    table.add({finding.check, std::string(node::health_name(finding.health)), finding.detail});
  }
  session.out << table.render();
  bool first = true;
  for (const node::Finding& finding : findings) {
    if (finding.mend.empty() || finding.health == node::Health::kGood) continue;
    if (first) session.out << "\nTo mend:\n";
    first = false;
    session.out << "  " << finding.check << ": " << printable(finding.mend) << '\n';
  }
}

void print_json(Session& session, const std::vector<node::Finding>& findings) {
  json::array items;
  for (const node::Finding& finding : findings) {
    items.push_back(json::object{{"check", finding.check},
                                 {"state", node::health_name(finding.health)},
                                 {"detail", finding.detail},
                                 {"mend", finding.mend}});
  }
  session.out << json::serialize(json::object{{"healthy", node::is_healthy(findings)},
                                              {"findings", std::move(items)}})
              << '\n';
}

}  // namespace

void add_doctor(CLI::App& app, Session& session) {
  CLI::App* doctor =
      app.add_subcommand("doctor", "Look at everything that logins need on this node");
  const auto config = std::make_shared<std::string>("/etc/roster/agent.toml");
  doctor->add_option("--config", *config, "the agent's configuration file");
  doctor->footer(
      "Needs no token. As root it can check everything.\n"
      "Example:\n  sudo roster doctor\n  roster doctor --output json\n"
      "Exit status: 0 all that is switched on was checked and is well, 1 otherwise.");
  doctor->callback([&session, config] {
    session.local = [&session, config] {
      node::DoctorOptions options;
      options.config = *config;
      options.clock = system_now;
      const auto findings = node::examine(options);
      session.output == Output::kJson ? print_json(session, findings)
                                      : print_text(session, findings);
      return node::is_healthy(findings) ? 0 : 1;
    };
  });
}

}  // namespace roster::cli
