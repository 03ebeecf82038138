#pragma once

namespace CLI {
class App;
}

namespace roster::cli {

struct Session;

/// `roster import`: reserves identities that files tell of. `roster unreserve` takes them back.
void add_import(CLI::App& app, Session& session);

}  // namespace roster::cli
