#include "hub/test_hub.h"

#include <type_traits>
#include <utility>
#include <variant>

#include "base/encoding.h"
#include "feed/zstd.h"
#include "hub/render.h"
#include "posix/ssh_key.h"

namespace roster::hub::testing {
namespace {

/// Aborts with the reason: a fixture that does not stand makes no test.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// A well-formed Ed25519 key, another one for each number.
std::string key_line(int number) {
  std::string blob("\0\0\0\x0bssh-ed25519\0\0\0\x20", 19);
  for (int i = 0; i < 32; ++i) blob += static_cast<char>(number >> (8 * (i % 4)));
  return "ssh-ed25519 " + base64_encode(blob) + " key" + std::to_string(number);
}

}  // namespace

Stream decode_stream(std::string_view bytes) {
  Stream stream;
  feed::Decoder decoder;
  const auto take = [&stream](feed::Message&& message) -> Result<void> {
    std::visit(
        [&stream](auto&& item) {
          using T = std::decay_t<decltype(item)>;
          if constexpr (std::is_same_v<T, feed::Head>) stream.head = item;
          if constexpr (std::is_same_v<T, posix::NodeUser>) stream.users.push_back(item);
          if constexpr (std::is_same_v<T, posix::NodeGroup>) stream.groups.push_back(item);
          if constexpr (std::is_same_v<T, feed::UserGone>) stream.gone.push_back(item.n);
          if constexpr (std::is_same_v<T, feed::GroupGone>) stream.gone.push_back(item.n);
          if constexpr (std::is_same_v<T, feed::End>) stream.end = item;
          if constexpr (std::is_same_v<T, feed::Reset>) stream.reset = item.reason;
        },
        message);
    return {};
  };
  if (const auto read = decoder.push(bytes, take); !read) ADD_FAILURE() << read.error().message;
  if (const auto whole = decoder.finish(); !whole) ADD_FAILURE() << whole.error().message;
  return stream;
}

Stream decode_snapshot(std::string_view compressed) {
  std::string bytes;
  feed::Decompressor decompressor(1 << 30);
  must(decompressor.push(compressed, [&bytes](std::string_view piece) -> Result<void> {
    bytes += piece;
    return {};
  }));
  must(decompressor.finish());
  return decode_stream(bytes);
}

TestHub::TestHub(TestOptions options) : options_(std::move(options)) {
  start();
  populate();
}

TestHub::~TestHub() { stop(); }

void TestHub::restart() {
  stop();
  start();
}

void TestHub::start() {
  metrics_ = std::make_unique<Metrics>();
  store::SqliteOptions store;
  store.path = temp_.path() / "roster.db";
  store.reserve_bytes = 0;
  database_ = must(store::open_sqlite(store));
  directory_ = must(directory::Directory::open(
      *database_, {.clock = clock_.clock(), .monotonic = clock_.monotonic()}));
  HubOptions hub;
  hub.data_dir = temp_.path();
  hub.run_dir = run_.path();
  hub.store = store.path;
  hub.clock = clock_.clock();
  hub.ca_pem = "ca\n";
  hub.check_store = options_.check_store;
  hub.metrics_public = options_.metrics_public;
  hub.feed = options_.feed;
  hub.snapshots = options_.snapshots;
  hub_ = must(Hub::create(*directory_, *metrics_, std::move(hub)));
  router_ = http::Router();
  hub_->add_routes(router_);
  http::ServerOptions server;
  server.listen = {"127.0.0.1:0"};
  server_ = must(http::Server::create(
      server,
      [this](const http::Request& request, http::Context& context) {
        return router_(request, context);
      },
      *metrics_));
  directory_->on_commit([this](const directory::Commit& commit) { hub_->committed(commit); });
  hub_->attach(
      [this](const std::string& key, std::uint64_t value) { server_->notify(key, value); });
  server_->start();
}

void TestHub::stop() {
  if (server_ == nullptr) return;
  server_->stop(std::chrono::seconds(5));
  hub_->attach({});
  must(directory_->flush_stamps());
  server_.reset();
  hub_.reset();
  directory_.reset();
  database_.reset();
}

directory::Actor TestHub::operator_actor() {
  directory::Actor actor;
  actor.scope = directory::Scope::kOperator;
  actor.name = "test";
  return actor;
}

void TestHub::populate() {
  const directory::Org acme = must(directory_->create_org(operator_actor(), "acme"));
  must(directory_->create_org(operator_actor(), "other"));
  must(directory_->create_client(operator_actor(), acme.n, "okta"));
  directory::Directory::TokenRequest request;
  request.name = "okta-token";
  request.scope = directory::Scope::kScim;
  request.org = acme.n;
  request.client = "okta";
  const auto token = must(directory_->create_token(operator_actor(), request));
  okta_ = must(directory_->authenticate(token.secret.expose()));
}

directory::Org TestHub::org(std::string_view slug) { return must(directory_->find_org(slug)); }

directory::User TestHub::add_user(const std::string& user_name, int keys) {
  directory::UserInput input;
  input.doc["userName"] = user_name;
  if (keys > 0) input.keys.emplace();
  for (int i = 0; i < keys; ++i) {
    const std::string line =
        key_line(static_cast<int>(std::hash<std::string>{}(user_name) % 1'000'000) + i);
    const auto key = must(posix::SshPublicKey::parse(line));
    directory::KeyInput stored;
    stored.line = key.line();
    stored.fingerprint = key.fingerprint();
    stored.name = "laptop";
    input.keys->push_back(std::move(stored));
  }
  return must(directory_->create_user(okta_, org().n, input));
}

directory::Group TestHub::add_group(const std::string& name,
                                    const std::vector<std::string>& members) {
  directory::GroupInput input;
  input.doc["displayName"] = name;
  return must(directory_->create_group(okta_, org().n, input, members));
}

directory::View TestHub::set_view(const std::string& name, const directory::ViewInput& input) {
  return must(directory_->set_view(operator_actor(), org().n, name, input)).view;
}

std::string TestHub::join_token(const std::string& view, const std::string& slug,
                                std::int64_t uses) {
  static int number = 0;
  directory::Directory::TokenRequest request;
  request.name = "join-" + std::to_string(++number);
  request.scope = directory::Scope::kJoin;
  request.org = org(slug).n;
  request.join =
      directory::JoinGrant{.cluster = "hpc", .view = view, .role = "login", .uses_left = uses};
  return must(directory_->create_token(operator_actor(), request)).secret.expose();
}

std::string TestHub::enroll(const std::string& name, const std::string& view,
                            const std::string& slug) {
  http::ClientRequest request;
  request.method = "POST";
  request.target = std::string(feed::kEnrollPath);
  request.body =
      feed::EnrollRequest{.name = name, .role = "", .agent_version = "1", .highest_id = 0}
          .to_json();
  const auto answer = call(request, join_token(view, slug));
  EXPECT_EQ(answer.status, 201) << answer.body;
  return must(feed::Enrollment::parse(answer.body)).credential.expose();
}

std::string TestHub::cursor(std::uint64_t seq, std::string_view view) {
  const directory::Org acme = org();
  const std::string epoch = view_epoch(acme, must(find_view(*directory_, acme, view)));
  return must(cursor_at(*directory_, acme.n, epoch, Seq{seq})).encode();
}

http::ClientResponse TestHub::call(const http::ClientRequest& request, std::string_view bearer) {
  http::ClientOptions options;
  options.url = "http://" + address();
  options.bearer_token = Secret(std::string(bearer));
  const auto client = must(http::Client::create(std::move(options)));
  return must(client->call(request));
}

http::ClientResponse TestHub::get(const std::string& target, std::string_view bearer) {
  http::ClientRequest request;
  request.target = target;
  return call(request, bearer);
}

http::ClientResponse TestHub::feed(const std::string& query, std::string_view bearer) {
  return get("/api/organizations/acme/feed?" + query, bearer);
}

}  // namespace roster::hub::testing
