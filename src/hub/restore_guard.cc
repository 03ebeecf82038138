#include "hub/restore_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "base/file.h"
#include "base/log.h"
#include "crypto/hash.h"

namespace roster::hub {
namespace {

/// Nodes seen within this time of the one seen last were there together with it.
constexpr std::chrono::minutes kTogether{10};

using Slot = std::array<std::uint64_t, 2>;  // seq, tag; native byte order: never leaves the machine

off_t slot_offset(directory::OrgN org) {
  return static_cast<off_t>(org * std::int64_t{sizeof(Slot)});
}

Timestamp last_contact(const directory::Node& node) {
  return node.last_seen.value_or(node.created);
}

}  // namespace

Result<HeadMarks> HeadMarks::open(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return std::unexpected(errno_error("open " + file.string(), errno));
  return HeadMarks(file, std::move(fd));
}

std::optional<HeadMarks::Mark> HeadMarks::read(directory::OrgN org) const {
  Slot slot{};
  if (!fd_.valid()) return std::nullopt;
  const ssize_t got = ::pread(fd_.get(), slot.data(), sizeof slot, slot_offset(org));
  if (got != ssize_t{sizeof slot} || slot[0] == 0) return std::nullopt;
  return Mark{slot[0], slot[1]};
}

void HeadMarks::write(directory::OrgN org, const Mark& mark) {
  if (!fd_.valid()) return;
  const Slot slot{mark.seq, mark.tag};
  const ssize_t put = ::pwrite(fd_.get(), slot.data(), sizeof slot, slot_offset(org));
  if (put == ssize_t{sizeof slot}) return;
  log::warn("heads cannot be marked: the next start will wait for the nodes",
            {{"file", path_.string()}, {"error", errno_error("write", errno).message}});
  ::unlink(path_.c_str());
  fd_ = UniqueFd();
}

Result<std::unique_ptr<RestoreGuard>> RestoreGuard::create(directory::Directory& directory,
                                                           const Options& options) {
  std::optional<HeadMarks> marks;
  if (!options.run_dir.empty()) {
    const std::string name =
        hex_encode(crypto::sha256(std::filesystem::absolute(options.store).string()));
    auto opened = HeadMarks::open(options.run_dir / ("heads-" + name.substr(0, 16)));
    if (opened) {
      marks = std::move(*opened);
    } else {
      log::warn("heads cannot be marked: each start will wait for the nodes",
                {{"error", opened.error().message}});
    }
  }
  std::unique_ptr<RestoreGuard> guard(new RestoreGuard(directory, std::move(marks)));
  ASSIGN_OR_RETURN(const std::vector<directory::Org> orgs, directory.list_orgs());
  for (const directory::Org& org : orgs) {
    ASSIGN_OR_RETURN(const Past past, guard->past(org));
    if (past == Past::kGoesOn) continue;
    RETURN_IF_ERROR(guard->wait_for_nodes(org, past, options.clock()));
  }
  return guard;
}

Result<RestoreGuard::Past> RestoreGuard::past(const directory::Org& org) const {
  const auto mark = marks_ ? marks_->read(org.n) : std::nullopt;
  if (!mark) return Past::kUnknown;
  if (mark->seq > org.seq.value) return Past::kOther;
  ASSIGN_OR_RETURN(const auto tag, directory_.change_tag(org.n, Seq{mark->seq}));
  return tag == mark->tag ? Past::kGoesOn : Past::kOther;
}

Result<void> RestoreGuard::wait_for_nodes(const directory::Org& org, Past past, Timestamp now) {
  ASSIGN_OR_RETURN(std::vector<directory::Node> nodes, directory_.list_nodes(org.n));
  std::erase_if(nodes, [now](const directory::Node& node) { return node.expires <= now; });
  Wait wait{.nodes = {}, .whole_time = past == Past::kOther};
  if (nodes.empty() && !wait.whole_time) return {};
  if (!nodes.empty()) {
    const Timestamp newest = last_contact(std::ranges::max(nodes, {}, last_contact));
    for (const directory::Node& node : nodes) {
      if (last_contact(node) + kTogether >= newest) wait.nodes.insert(node.n);
    }
  }
  log::info(wait.whole_time ? "no new ids for a while: this store is a restored one"
                            : "no new ids until the nodes were heard: this store may be a "
                              "restored one",
            {{"org", org.slug},
             {"nodes", wait.nodes.size()},
             {"at_most_seconds", std::chrono::seconds(kLongest).count()}});
  directory_.hold_ids(org.n, kLongest);
  waiting_.emplace(org.n, std::move(wait));
  return {};
}

bool RestoreGuard::is_waiting(directory::OrgN org) {
  const std::lock_guard lock(mutex_);
  return waiting_.contains(org) && directory_.ids_are_held(org);
}

void RestoreGuard::heard(const directory::Node& node) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(node.org);
  if (found == waiting_.end() || found->second.whole_time) return;
  found->second.nodes.erase(node.n);
  if (!found->second.nodes.empty()) return;
  waiting_.erase(found);
  directory_.allow_ids(node.org);
  log::info("all nodes were heard: new ids are given out", {{"org_number", node.org}});
}

void RestoreGuard::committed(const directory::Commit& commit) {
  const std::lock_guard lock(mutex_);
  if (waiting_.contains(commit.org)) {
    // A mark now would let the next start give out ids that no node was asked about.
    if (directory_.ids_are_held(commit.org)) return;
    waiting_.erase(commit.org);
  }
  if (marks_) marks_->write(commit.org, {commit.head.value, commit.tag});
}

}  // namespace roster::hub
