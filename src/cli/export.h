#pragma once

namespace CLI {
class App;
}

namespace roster::cli {

struct Session;

/// `roster export`: writes the identities of an organization as files.
void add_export(CLI::App& app, Session& session);

}  // namespace roster::cli
