#include "agent/testing/fake_hub.h"

#include <stdlib.h>

#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/ids.h"
#include "base/time.h"
#include "crypto/token.h"
#include "crypto/x509.h"
#include "feed/enrollment.h"
#include "feed/zstd.h"

namespace roster::agent::testing {
namespace {

constexpr const char* kOrg = "acme";
constexpr const char* kView = "login";

http::Response text(int status, std::string body, std::string_view type = feed::kContentType) {
  http::Response response;
  response.status = status;
  response.headers.set("Content-Type", type);
  response.body = std::move(body);
  return response;
}

std::uint64_t number(std::string_view digits) {
  std::uint64_t out = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), out);
  return out;
}

http::Response reset(std::string reason) {
  std::string body;
  feed::append(body, feed::Reset{std::move(reason)});
  return text(409, std::move(body));
}

}  // namespace

FakeHub::FakeHub(Tls tls) : tls_(tls) {
  http::ServerOptions options;
  options.workers = 2;
  std::string pin;
  if (tls_ == Tls::kOwnCa) {
    prepare_tls();
    options.tls = http::TlsFiles{tls_dir_ / "cert.pem", tls_dir_ / "key.pem"};
    pin = crypto::certificate_info(ca_pem_)->sha256;
  }
  join_token_ = crypto::mint_join_token(pin, system_random)->token.expose();
  server_.emplace([this](const http::Request& request,
                         http::Context& context) { return handle(request, context); },
                  std::move(options));
}

FakeHub::~FakeHub() {
  stop();
  if (!tls_dir_.empty()) std::filesystem::remove_all(tls_dir_);
}

void FakeHub::prepare_tls() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hub.XXXXXX").string();
  CHECK(mkdtemp(pattern.data()) != nullptr);
  tls_dir_ = pattern;
  const auto ca = crypto::create_ca("Test hub", system_now(), std::chrono::days(2), system_random);
  CHECK(ca);
  ca_pem_ = ca->certificate_pem;
  const std::vector<std::string> hosts{"127.0.0.1"};
  const auto certificate = crypto::issue_server_certificate(*ca, hosts, system_now(),
                                                            std::chrono::days(1), system_random);
  CHECK(certificate);
  CHECK(write_file_atomic(tls_dir_ / "cert.pem", certificate->certificate_pem, 0600));
  CHECK(write_file_atomic(tls_dir_ / "key.pem", certificate->key_pem.expose(), 0600));
}

void FakeHub::stop() { server_->server->stop(std::chrono::milliseconds(2'000)); }

std::string FakeHub::url() const {
  return (tls_ == Tls::kOff ? "http://" : "https://") + server_->address();
}

void FakeHub::changed() { (*server_)->notify("seq", seq_); }

void FakeHub::put_user(std::uint64_t n, std::string_view name, std::uint32_t uid,
                       std::vector<std::uint64_t> groups, bool locked) {
  const std::lock_guard lock(mutex_);
  posix::NodeUser user{.n = n,
                       .seq = Seq{++seq_},
                       .name = *posix::LoginName::parse(name),
                       .uid = uid,
                       .gid = uid,
                       .gecos = std::string(name),
                       .home = "/home/" + std::string(name),
                       .shell = "/bin/bash",
                       .locked = locked,
                       .valid_until = 0,
                       .groups = std::move(groups),
                       .keys = {}};
  users_.insert_or_assign(n, std::move(user));
  gone_.erase(n);
  changed();
}

void FakeHub::put_group(std::uint64_t n, std::string_view name, std::uint32_t gid) {
  const std::lock_guard lock(mutex_);
  posix::NodeGroup group{.n = n,
                         .seq = Seq{++seq_},
                         .name = *posix::GroupName::parse(name),
                         .gid = gid,
                         .parents = {}};
  groups_.insert_or_assign(n, std::move(group));
  changed();
}

void FakeHub::remove_user(std::uint64_t n) {
  const std::lock_guard lock(mutex_);
  users_.erase(n);
  gone_[n] = ++seq_;
  changed();
}

void FakeHub::restore_to(std::uint64_t seq, std::string epoch) {
  const std::lock_guard lock(mutex_);
  std::erase_if(users_, [seq](const auto& item) { return item.second.seq.value > seq; });
  std::erase_if(groups_, [seq](const auto& item) { return item.second.seq.value > seq; });
  std::erase_if(gone_, [seq](const auto& item) { return item.second > seq; });
  seq_ = seq;
  epoch_ = std::move(epoch);
}

void FakeHub::lose_users(std::uint64_t from_n) {
  const std::lock_guard lock(mutex_);
  users_.erase(users_.lower_bound(from_n), users_.end());
}

void FakeHub::set_intercept(Intercept intercept) {
  const std::lock_guard lock(mutex_);
  intercept_ = std::move(intercept);
}
void FakeHub::set_rewrite(Rewrite delta, Rewrite snapshot) {
  const std::lock_guard lock(mutex_);
  rewrite_delta_ = std::move(delta);
  rewrite_snapshot_ = std::move(snapshot);
}
void FakeHub::set_shrink_ok(bool ok) {
  const std::lock_guard lock(mutex_);
  shrink_ok_ = ok;
}
void FakeHub::set_snapshot_cuts(int cuts) {
  const std::lock_guard lock(mutex_);
  cuts_ = cuts;
}
void FakeHub::set_part_records(std::size_t records) {
  const std::lock_guard lock(mutex_);
  part_records_ = records;
}
void FakeHub::set_totals(std::optional<feed::Totals> totals) {
  const std::lock_guard lock(mutex_);
  totals_ = totals;
}
void FakeHub::set_credential_life(std::chrono::milliseconds issued_before,
                                  std::chrono::milliseconds life) {
  const std::lock_guard lock(mutex_);
  issued_before_ = issued_before;
  life_ = life;
}

std::uint64_t FakeHub::seq() const {
  const std::lock_guard lock(mutex_);
  return seq_;
}
std::string FakeHub::epoch() const {
  const std::lock_guard lock(mutex_);
  return epoch_;
}
std::vector<std::string> FakeHub::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}
std::size_t FakeHub::count_requests(std::string_view containing) const {
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const std::string& request : requests_) count += request.contains(containing) ? 1 : 0;
  return count;
}
std::string FakeHub::credential() const {
  const std::lock_guard lock(mutex_);
  return "rsn_" + std::to_string(credentials_);
}

std::string FakeHub::tag(std::uint64_t seq) const {
  return seq == 0 ? "" : (epoch_ == "e1" ? "aa" : "bb") + std::to_string(seq % 10);
}
std::string FakeHub::cursor(std::uint64_t seq) const {
  return feed::Cursor{.epoch = epoch_, .seq = Seq{seq}, .tag = tag(seq)}.encode();
}

http::Response FakeHub::handle(const http::Request& request, const http::Context& context) {
  Intercept intercept;
  {
    const std::lock_guard lock(mutex_);
    if (!context.resumed) {
      requests_.push_back(request.method + ' ' + request.path +
                          (request.query.empty() ? "" : "?" + request.query));
    }
    intercept = intercept_;
  }
  if (intercept) {
    if (auto answer = intercept(request)) return std::move(*answer);
  }
  const std::lock_guard lock(mutex_);
  if (request.path == feed::kEnrollPath) return enroll(request, false);
  const std::string bearer(request.headers.get("Authorization"));
  if (credentials_ == 0 || !bearer.starts_with("Bearer rsn_")) return text(401, "");
  if (request.path == feed::kRenewPath) return enroll(request, true);
  if (request.path == "/api/organizations/acme/feed") return delta(request, context);
  if (request.path == "/api/organizations/acme/feed/snapshot") return snapshot(request);
  return text(404, "");
}

http::Response FakeHub::enroll(const http::Request& request, bool renewal) {
  if (!renewal && request.headers.get("Authorization") != "Bearer " + join_token_) {
    return text(401, "");
  }
  if (!feed::EnrollRequest::parse(request.body, renewal)) return text(400, "");
  feed::Enrollment out;
  out.node_id = "node-1";
  out.credential = Secret("rsn_" + std::to_string(++credentials_));
  out.org = kOrg;
  out.cluster = "hpc1";
  out.view = kView;
  out.role = "login";
  out.issued = system_now() - issued_before_;
  out.expires = out.issued + life_;
  out.ca_pem = ca_pem_;
  return text(renewal ? 200 : 201, out.to_json(), "application/json");
}

http::Response FakeHub::delta(const http::Request& request, const http::Context& context) {
  const http::Query query = *http::Query::parse(request.query);
  const auto start = query.get("since") ? query.get("since") : query.get("from");
  if (!start || query.get("view") != kView) return text(400, "");
  const auto from = feed::Cursor::decode(*start);
  if (!from) return text(400, "");
  if (from->epoch != epoch_ || from->seq.value > seq_ || from->tag != tag(from->seq.value)) {
    return reset("the position is not of this history");
  }
  if (from->seq.value == seq_ && query.get("wait") && !context.wait_expired) {
    http::Response parked;
    parked.body =
        http::WaitBody{.key = "seq",
                       .after = seq_,
                       .deadline = std::chrono::milliseconds(1'000 * number(*query.get("wait")))};
    return parked;
  }
  // Parts: "more" is the number of records already sent.
  const std::uint64_t skip = number(query.get("more").value_or("0"));
  std::string out;
  feed::append(out, feed::Head{.epoch = epoch_,
                               .org = kOrg,
                               .view = kView,
                               .kind = feed::Kind::kDelta,
                               .head = Seq{seq_},
                               .keys = true});
  feed::End end;
  std::uint64_t at = 0;
  const auto wanted = [&](std::uint64_t seq) {
    if (seq <= from->seq.value) return false;
    ++at;
    return at > skip && at <= skip + part_records_;
  };
  for (const auto& [n, group] : groups_) {
    if (wanted(group.seq.value)) feed::append(out, group), ++end.counts.groups;
  }
  for (const auto& [n, user] : users_) {
    if (wanted(user.seq.value)) feed::append(out, user), ++end.counts.users;
  }
  for (const auto& [n, seq] : gone_) {
    if (wanted(seq)) feed::append(out, feed::UserGone{n, Seq{seq}}), ++end.counts.gone;
  }
  end.final = at <= skip + part_records_;
  end.cursor = cursor(seq_);
  end.more = std::to_string(skip + part_records_);
  end.totals = totals_;
  feed::append(out, end);
  return text(200, rewrite_delta_ ? rewrite_delta_(std::move(out)) : std::move(out));
}

std::string FakeHub::render_snapshot() const {
  std::string out;
  feed::append(out, feed::Head{.epoch = epoch_,
                               .org = kOrg,
                               .view = kView,
                               .kind = feed::Kind::kSnapshot,
                               .head = Seq{seq_},
                               .keys = true,
                               .shrink_ok = shrink_ok_});
  feed::End end;
  for (const auto& [n, group] : groups_) feed::append(out, group), ++end.counts.groups;
  for (const auto& [n, user] : users_) feed::append(out, user), ++end.counts.users;
  for (const auto& [n, seq] : gone_)
    feed::append(out, feed::UserGone{n, Seq{seq}}), ++end.counts.gone;
  end.cursor = cursor(seq_);
  feed::append(out, end);
  if (rewrite_snapshot_) out = rewrite_snapshot_(std::move(out));
  feed::Compressor compressor;
  std::string packed;
  compressor.push(out, packed);
  compressor.finish(packed);
  return packed;
}

http::Response FakeHub::snapshot(const http::Request& request) {
  const std::string etag = '"' + cursor(seq_) + (shrink_ok_ ? "+" : "") + '"';
  if (request.headers.has("If-Match") && request.headers.get("If-Match") != etag) {
    return text(412, "");
  }
  std::string packed = render_snapshot();
  const std::string_view range = request.headers.get("Range");
  http::Response response = text(range.empty() ? 200 : 206, "", feed::kSnapshotContentType);
  response.headers.set("ETag", etag);
  response.headers.set(feed::kCursorHeader, cursor(seq_));
  if (!range.empty()) packed.erase(0, number(range.substr(std::string_view("bytes=").size())));
  if (cuts_ > 0 && request.method == "GET") {
    --cuts_;
    packed.resize(packed.size() / 3);
    response.body = http::ChunksBody{[packed, sent = false]() mutable -> Result<std::string> {
      if (std::exchange(sent, true)) return fail(Code::kUnavailable, "cut");
      return packed;
    }};
  } else {
    response.body = std::move(packed);
  }
  return response;
}

}  // namespace roster::agent::testing
