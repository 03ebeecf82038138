#include "mirror/identity_memory.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/encoding.h"

namespace roster::mirror {
namespace {

constexpr char kKinds[] = {'u', 'g'};
constexpr std::size_t kPieceBytes = 256 << 10;

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

void append_number(std::string& out, std::uint64_t number) {
  std::array<char, 20> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  out.append(text.data(), static_cast<std::size_t>(end - text.data())).append("\t");
}

std::size_t digits(std::uint64_t number) {
  std::size_t count = 1;
  for (; number >= 10; number /= 10) ++count;
  return count;
}

std::size_t encoded_bytes(std::string_view id) { return percent_encode(id).size(); }

std::string_view what(Kind kind) { return kind == Kind::kUser ? "uid " : "gid "; }

}  // namespace

Result<IdentityMemory> IdentityMemory::parse(std::string text, Limits limits) {
  IdentityMemory memory(limits);
  if (text.empty()) return memory;
  if (!text.starts_with(kFirstLine)) return damaged(1);
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    return fail(Code::kTooLarge, "it has more bytes than can be remembered");
  }
  memory.text_ = std::move(text);
  const std::string& all = memory.text_;
  memory.entries_.reserve(static_cast<std::size_t>(std::ranges::count(all, '\n')));
  std::size_t number = 1;
  for (std::size_t at = kFirstLine.size(); at < all.size();) {
    ++number;
    const std::size_t end = all.find('\n', at);
    if (end == std::string::npos || !memory.take_entry(at, end)) return damaged(number);
    at = end + 1;
  }
  memory.file_bytes_ = all.size();
  return memory;
}

/// The line from `begin` to `end` of the text. Its id is decoded where it stands.
bool IdentityMemory::take_entry(std::size_t begin, std::size_t end) {
  std::string_view line = std::string_view(text_).substr(begin, end - begin);
  Entry entry;
  if (line.size() < 2 || (line[0] != kKinds[0] && line[0] != kKinds[1])) return false;
  entry.kind = line[0] == kKinds[0] ? Kind::kUser : Kind::kGroup;
  entry.replaced = line[1] == '-';
  entry.owner = !entry.replaced;
  if (line[1] != '\t' && line.substr(1, 2) != "-\t") return false;
  line.remove_prefix(entry.replaced ? 3 : 2);
  if (!take_number(line, entry.n) || !take_number(line, entry.number)) return false;
  const std::size_t tab = line.find('\t');
  if (tab == std::string_view::npos || entry.n < next_n_) return false;
  const std::string_view id = line.substr(tab + 1);
  entry.name_at = static_cast<std::uint32_t>(end - line.size());
  entry.name_bytes = static_cast<std::uint32_t>(tab);
  entry.id_at = static_cast<std::uint32_t>(end - id.size());
  entry.id_bytes = static_cast<std::uint32_t>(id.size());
  if (id.contains('%')) {
    const auto decoded = percent_decode(id, false);
    if (!decoded) return false;
    std::ranges::copy(*decoded, text_.begin() + entry.id_at);
    entry.id_bytes = static_cast<std::uint32_t>(decoded->size());
  }
  next_n_ = entry.n + 1;
  entries_.push_back(entry);
  return true;
}

/// Most passes bring exactly those who are remembered, in the same order: then nobody is looked up.
void IdentityMemory::build_indexes() {
  if (std::exchange(indexed_, true)) return;
  for (const Kind kind : {Kind::kUser, Kind::kGroup}) {
    const auto count = static_cast<std::size_t>(std::ranges::count(entries_, kind, &Entry::kind));
    Index& index = index_of(kind);
    for (HashIndex* each : {&index.by_number, &index.by_name}) each->clear(count);
  }
  for (std::uint32_t at = 0; at < entries_.size(); ++at) index(at);
}

void IdentityMemory::index(std::uint32_t at) {
  Entry& entry = entries_[at];
  const std::string_view name = name_of(entry);
  const std::string_view id = id_of(entry);
  Index& index = index_of(entry.kind);
  for (const Found before :
       {index.by_number.assign(hash_(entry.number), at, has_number(entry.number)),
        index.by_name.assign(hash_(name), at, has_name(name))}) {
    if (before) entries_[*before].owner = false;
  }
  entry.owner = !entry.replaced;
  if (index.ids_known && !id.empty()) index.by_id.assign(hash_(id), at, has_id(id));
}

/// Most passes bring nobody whom number and name do not tell: then nobody is looked up by id.
void IdentityMemory::index_ids(Kind kind) {
  Index& index = index_of(kind);
  if (std::exchange(index.ids_known, true)) return;
  for (std::uint32_t at = 0; at < entries_.size(); ++at) {
    const std::string_view id = id_of(entries_[at]);
    if (entries_[at].kind != kind || id.empty()) continue;
    index.by_id.assign(hash_(id), at, has_id(id));
  }
}

Result<void> IdentityMemory::write(const nsscache::ByteSink& sink) const {
  std::string piece(kFirstLine);
  std::size_t written = 0;
  const auto flush = [&]() -> Result<void> {
    written += piece.size();
    if (written > limits_.file_bytes) {
      return fail(Code::kTooLarge, "the memory of ids would have more than " +
                                       std::to_string(limits_.file_bytes) + " bytes");
    }
    RETURN_IF_ERROR(sink(piece));
    piece.clear();
    return {};
  };
  for (const Entry& entry : entries_) {
    piece += kKinds[static_cast<std::size_t>(entry.kind)];
    piece.append(entry.replaced ? "-\t" : "\t");
    append_number(piece, entry.n);
    append_number(piece, entry.number);
    piece.append(name_of(entry)).append("\t");
    piece.append(percent_encode(id_of(entry))).append("\n");
    if (piece.size() >= kPieceBytes) RETURN_IF_ERROR(flush());
  }
  return flush();
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

IdentityMemory::Found IdentityMemory::find_number(Kind kind, std::uint32_t number) {
  build_indexes();
  return index_of(kind).by_number.find(hash_(number), has_number(number));
}

IdentityMemory::Found IdentityMemory::find_name(Kind kind, std::string_view name) {
  build_indexes();
  return index_of(kind).by_name.find(hash_(name), has_name(name));
}

IdentityMemory::Found IdentityMemory::find_id(Kind kind, std::string_view id) {
  index_ids(kind);
  return id.empty() ? std::nullopt : index_of(kind).by_id.find(hash_(id), has_id(id));
}

bool IdentityMemory::knows(Kind kind, std::uint32_t number, std::string_view name,
                           std::string_view id) {
  const Found found = find_number(kind, number);
  if (!found) return false;
  const Entry& entry = entries_[*found];
  return !entry.replaced && name_of(entry) == name && id_of(entry) == id;
}

Result<std::uint64_t> IdentityMemory::claim(Kind kind, const Claim& claim) {
  if (expected_ < entries_.size()) {
    const Entry& entry = entries_[expected_];
    if (entry.owner && entry.kind == kind && entry.number == claim.number &&
        name_of(entry) == claim.name && id_of(entry) == claim.id) {
      ++expected_;
      return entry.n;
    }
  }
  const Found number_owner = find_number(kind, claim.number);
  const Found name_owner = find_name(kind, claim.name);
  if (number_owner && number_owner == name_owner && !entries_[*number_owner].replaced) {
    // A resource that was made anew for the same identity has another id.
    if (id_of(entries_[*number_owner]) != claim.id) {
      RETURN_IF_ERROR(change_id(*number_owner, claim.id));
    }
    expected_ = *number_owner + 1;
    return entries_[*number_owner].n;
  }
  const Found resource = find_id(kind, claim.id);
  const bool news = !number_owner && !name_owner && !resource;
  if (!news && !is_accepted(kind, claim)) {
    return std::unexpected(conflict(kind, claim, number_owner, name_owner, resource));
  }
  Entry entry{.n = next_n_, .number = claim.number, .kind = kind};
  constexpr std::size_t kMarks = 3;  // of those that are replaced
  const std::size_t bytes = std::string_view("u\t\t\t\t\n").size() + digits(entry.n) +
                            digits(entry.number) + claim.name.size() + encoded_bytes(claim.id);
  if (entries_.size() >= limits_.entries ||
      !has_room(claim.name.size() + claim.id.size(), bytes + kMarks)) {
    return fail(Code::kTooLarge, "too many identities are remembered for one more");
  }
  for (const Found superseded : {number_owner, name_owner, resource}) {
    if (!superseded) continue;
    entries_[*superseded].owner = false;
    if (std::exchange(entries_[*superseded].replaced, true)) continue;
    ++file_bytes_;
  }
  entry.name_at = keep(claim.name);
  entry.name_bytes = static_cast<std::uint32_t>(claim.name.size());
  entry.id_at = keep(claim.id);
  entry.id_bytes = static_cast<std::uint32_t>(claim.id.size());
  file_bytes_ += bytes;
  entries_.push_back(entry);
  index(static_cast<std::uint32_t>(entries_.size() - 1));
  changed_ = true;
  return next_n_++;
}

/// The same identity is another resource from now on.
Result<void> IdentityMemory::change_id(std::uint32_t at, std::string_view id) {
  Entry& entry = entries_[at];
  const std::size_t before = encoded_bytes(id_of(entry));
  const std::size_t after = encoded_bytes(id);
  if (!has_room(id.size(), after > before ? after - before : 0)) {
    return fail(Code::kTooLarge, "too much is remembered for another id of the resource");
  }
  HashIndex& ids = index_of(entry.kind).by_id;
  if (const Found owner = find_id(entry.kind, id_of(entry)); owner == at) {
    ids.erase(hash_(id_of(entry)), has_id(id_of(entry)));
  }
  entry.id_at = keep(id);
  entry.id_bytes = static_cast<std::uint32_t>(id.size());
  if (!id.empty()) ids.assign(hash_(id), at, has_id(id));
  file_bytes_ = file_bytes_ - before + after;
  changed_ = true;
  return {};
}

std::uint32_t IdentityMemory::keep(std::string_view text) {
  const std::size_t at = text_.size();
  text_.append(text);
  return static_cast<std::uint32_t>(at);
}

/// For texts of so many bytes more, and lines of so many.
bool IdentityMemory::has_room(std::size_t text_bytes, std::size_t line_bytes) const {
  return text_bytes <= std::numeric_limits<std::uint32_t>::max() - text_.size() &&
         line_bytes + file_bytes_ <= limits_.file_bytes;
}

/// Why a claim that nobody accepted is refused: one of the three is there.
Error IdentityMemory::conflict(Kind kind, const Claim& claim, Found number_owner, Found name_owner,
                               Found resource) const {
  const std::string name(claim.name);
  const std::string number = std::string(what(kind)) + std::to_string(claim.number);
  std::string why;
  if (number_owner) {
    why = number + " belongs to " + std::string(name_of(entries_[*number_owner])) + ", not to " +
          name;
  } else if (name_owner) {
    why = name + " has " + std::string(what(kind)) + std::to_string(entries_[*name_owner].number) +
          ", not " + std::to_string(claim.number);
  } else {
    const Entry& before = entries_[*resource];
    why = "the same resource was " + std::string(name_of(before)) + " with " +
          std::string(what(kind)) + std::to_string(before.number) + " before, and is " + name +
          " with " + number + " now";
  }
  return {Code::kFailedPrecondition, why + "; if this is meant, accept it: --accept-id " + name +
                                         "=" + std::to_string(claim.number)};
}

}  // namespace roster::mirror
