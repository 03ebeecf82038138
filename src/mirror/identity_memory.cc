#include "mirror/identity_memory.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/encoding.h"

namespace roster::mirror {
namespace {

constexpr std::string_view kFirstLine = "roster-mirror identities 1";
constexpr char kKinds[] = {'u', 'g'};

std::unexpected<Error> damaged(std::size_t line) {
  return fail(Code::kDataLoss, "line " + std::to_string(line) +
                                   " is damaged; put a good copy in its place, or remove the file "
                                   "to begin anew, which forgets whom ids belonged to");
}

template <typename Number>
bool take_number(std::string_view& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop == end || *stop != '\t') return false;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
  return true;
}

std::string_view what(Kind kind) { return kind == Kind::kUser ? "uid " : "gid "; }

}  // namespace

Result<IdentityMemory> IdentityMemory::parse(std::string_view text) {
  IdentityMemory memory;
  if (text.empty()) return memory;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    ++number;
    if (end == std::string_view::npos) return damaged(number);
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (number == 1) {
      if (line != kFirstLine) return damaged(number);
      continue;
    }
    Entry entry;
    if (line.size() < 2 || (line[0] != kKinds[0] && line[0] != kKinds[1])) return damaged(number);
    entry.kind = line[0] == kKinds[0] ? Kind::kUser : Kind::kGroup;
    entry.replaced = line[1] == '-';
    if (line[1] != '\t' && line.substr(1, 2) != "-\t") return damaged(number);
    line.remove_prefix(entry.replaced ? 3 : 2);
    if (!take_number(line, entry.n) || !take_number(line, entry.number)) return damaged(number);
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos || entry.n < memory.next_n_) return damaged(number);
    entry.name = line.substr(0, tab);
    auto id = percent_decode(line.substr(tab + 1), false);
    if (!id) return damaged(number);
    entry.id = std::move(*id);
    memory.next_n_ = entry.n + 1;
    memory.entries_.push_back(std::move(entry));
    memory.index(memory.entries_.size() - 1);
  }
  return memory;
}

std::string IdentityMemory::save() const {
  std::string out(kFirstLine);
  out += '\n';
  for (const Entry& entry : entries_) {
    out += kKinds[static_cast<std::size_t>(entry.kind)];
    if (entry.replaced) out += '-';
    out.append("\t").append(std::to_string(entry.n));
    out.append("\t").append(std::to_string(entry.number));
    out.append("\t").append(entry.name);
    out.append("\t").append(percent_encode(entry.id)).append("\n");
  }
  return out;
}

void IdentityMemory::index(std::size_t at) {
  const Entry& entry = entries_[at];
  Index& index = index_of(entry.kind);
  index.by_number[entry.number] = at;
  index.by_name[entry.name] = at;
  if (!entry.id.empty()) index.by_id[entry.id] = at;
}

void IdentityMemory::accept(std::string_view name, std::uint32_t number) {
  accepted_.push_back({.name = std::string(name), .number = number});
}

std::vector<std::string> IdentityMemory::unused() const {
  std::vector<std::string> out;
  for (const Accepted& each : accepted_) {
    if (!each.used[0] && !each.used[1])
      out.push_back(each.name + "=" + std::to_string(each.number));
  }
  return out;
}

bool IdentityMemory::is_accepted(Kind kind, const Claim& claim) {
  const auto at = static_cast<std::size_t>(kind);
  const auto found = std::ranges::find_if(accepted_, [&claim, at](const Accepted& each) {
    return each.name == claim.name && each.number == claim.number && !each.used[at];
  });
  if (found == accepted_.end()) return false;
  found->used[at] = true;
  return true;
}

bool IdentityMemory::knows(Kind kind, std::uint32_t number, std::string_view name,
                           std::string_view id) const {
  const Index& known = indexes_[static_cast<std::size_t>(kind)];
  const auto found = known.by_number.find(number);
  if (found == known.by_number.end()) return false;
  const Entry& entry = entries_[found->second];
  return !entry.replaced && entry.name == name && entry.id == id;
}

Result<std::uint64_t> IdentityMemory::claim(Kind kind, const Claim& claim) {
  Index& known = index_of(kind);
  const std::string name(claim.name);
  const std::string id(claim.id);
  const auto number_owner = known.by_number.find(claim.number);
  const auto name_owner = known.by_name.find(name);
  const bool number_known = number_owner != known.by_number.end();
  const bool name_known = name_owner != known.by_name.end();
  if (number_known && name_known && number_owner->second == name_owner->second &&
      !entries_[number_owner->second].replaced) {
    // A resource that was made anew for the same identity has another id.
    Entry& entry = entries_[number_owner->second];
    if (entry.id != id) {
      changed_ = true;
      if (const auto found = known.by_id.find(entry.id);
          found != known.by_id.end() && found->second == number_owner->second) {
        known.by_id.erase(found);
      }
      entry.id = id;
      known.by_id[id] = number_owner->second;
    }
    return entry.n;
  }
  const auto same_resource = known.by_id.find(id);
  const bool resource_known = same_resource != known.by_id.end();
  const std::string mend =
      "; if this is meant, accept it: --accept-id " + name + "=" + std::to_string(claim.number);
  const bool news = !number_known && !name_known && !resource_known;
  if (news && entries_.size() >= kEntriesMax) {
    return fail(Code::kTooLarge, "too many identities are remembered for one more");
  }
  if (!news && !is_accepted(kind, claim)) {
    const std::string number = std::string(what(kind)) + std::to_string(claim.number);
    if (number_known) {
      return fail(Code::kFailedPrecondition, number + " belongs to " +
                                                 entries_[number_owner->second].name + ", not to " +
                                                 name + mend);
    }
    if (name_known) {
      return fail(Code::kFailedPrecondition,
                  name + " has " + std::string(what(kind)) +
                      std::to_string(entries_[name_owner->second].number) + ", not " +
                      std::to_string(claim.number) + mend);
    }
    if (resource_known) {
      const Entry& before = entries_[same_resource->second];
      return fail(Code::kFailedPrecondition,
                  "the same resource was " + before.name + " with " + std::string(what(kind)) +
                      std::to_string(before.number) + " before, and is " + name + " with " +
                      number + " now" + mend);
    }
  }
  std::vector<std::size_t> superseded;
  if (number_known) superseded.push_back(number_owner->second);
  if (name_known) superseded.push_back(name_owner->second);
  if (resource_known) superseded.push_back(same_resource->second);
  for (const std::size_t at : superseded) entries_[at].replaced = true;
  entries_.push_back({.kind = kind,
                      .n = next_n_,
                      .number = claim.number,
                      .name = name,
                      .id = id,
                      .replaced = false});
  index(entries_.size() - 1);
  changed_ = true;
  return next_n_++;
}

}  // namespace roster::mirror
