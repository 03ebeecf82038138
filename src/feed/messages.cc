#include "feed/messages.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/unicode.h"
#include "feed/enrollment.h"
#include "posix/ssh_key.h"

namespace roster::feed {
namespace {

constexpr std::uint64_t kIntMax = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kIdMin = 1000;
constexpr std::uint64_t kIdMax = 2147483647;
constexpr std::size_t kDepthMax = 8;
constexpr std::size_t kGecosBytesMax = 256;
constexpr std::size_t kHomeBytesMax = 1023;
constexpr std::size_t kShellBytesMax = 255;
constexpr std::size_t kMoreBytesMax = 1024;
constexpr std::size_t kReasonBytesMax = 1024;
constexpr std::size_t kTagDigitsMax = 64;
constexpr std::size_t kEpochBytesMax = 63;

// ---- writing ----

void put_string(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void put_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

/// Writes `{"t":"TYPE"` and members after it; `close` ends the line.
class LineWriter {
 public:
  LineWriter(std::string& out, std::string_view type) : out_(out) {
    out_ += "{\"t\":";
    put_string(out_, type);
  }
  void text(std::string_view name, std::string_view value) {
    member(name);
    put_string(out_, value);
  }
  void number(std::string_view name, std::uint64_t value) {
    member(name);
    put_number(out_, value);
  }
  void number_unless_zero(std::string_view name, std::int64_t value) {
    if (value > 0) number(name, static_cast<std::uint64_t>(value));
  }
  void yes(std::string_view name, bool value) {
    if (!value) return;
    member(name);
    out_ += "true";
  }
  void numbers(std::string_view name, const std::vector<std::uint64_t>& values) {
    if (values.empty()) return;
    member(name);
    char before = '[';
    for (const std::uint64_t value : values) {
      out_ += std::exchange(before, ',');
      put_number(out_, value);
    }
    out_ += ']';
  }
  void member(std::string_view name) {
    out_ += ',';
    put_string(out_, name);
    out_ += ':';
  }
  void close() { out_ += "}\n"; }

 private:
  std::string& out_;
};

void put_keys(std::string& out, LineWriter& line, const std::vector<posix::NodeKey>& keys) {
  if (keys.empty()) return;
  line.member("keys");
  char before = '[';
  for (const posix::NodeKey& key : keys) {
    out += std::exchange(before, ',');
    out += "{\"line\":";
    put_string(out, key.line);
    for (const auto& [name, value] :
         {std::pair{",\"not_before\":", key.not_before}, {",\"not_after\":", key.not_after}}) {
      if (value <= 0) continue;
      out += name;
      put_number(out, static_cast<std::uint64_t>(value));
    }
    out += '}';
  }
  out += ']';
}

// ---- reading ----

std::unexpected<Error> bad(std::string_view member, std::string_view why) {
  return fail(Code::kInvalidArgument, "member \"" + std::string(member) + "\" " + std::string(why));
}

Result<std::uint64_t> number_or(const json::object& o, std::string_view name,
                                std::optional<std::uint64_t> fallback, std::uint64_t min = 0,
                                std::uint64_t max = kIntMax) {
  const json::value* found = json::find(o, name);
  if (found == nullptr) {
    if (fallback) return *fallback;
    return bad(name, "is missing");
  }
  const std::int64_t* number = found->if_int64();
  if (number == nullptr || *number < 0) return bad(name, "is not an integer from 0");
  const auto value = static_cast<std::uint64_t>(*number);
  if (value < min || value > max) return bad(name, "is out of range");
  return value;
}

Result<std::string_view> text_of(const json::object& o, std::string_view name) {
  const json::value* found = json::find(o, name);
  if (found == nullptr) return bad(name, "is missing");
  const json::string* text = found->if_string();
  if (text == nullptr) return bad(name, "is not a string");
  return json::view(*text);
}

Result<bool> flag_or(const json::object& o, std::string_view name, bool fallback) {
  const json::value* found = json::find(o, name);
  if (found == nullptr) return fallback;
  if (!found->is_bool()) return bad(name, "is not true or false");
  return found->get_bool();
}

Result<const json::object*> object_of(const json::value& v, std::string_view name) {
  if (!v.is_object()) return bad(name, "is not an object");
  return &v.get_object();
}

/// Strictly rising numbers from 1.
Result<std::vector<std::uint64_t>> numbers_of(const json::object& o, std::string_view name,
                                              std::size_t count_max) {
  std::vector<std::uint64_t> out;
  const json::value* found = json::find(o, name);
  if (found == nullptr) return out;
  if (!found->is_array()) return bad(name, "is not a list");
  const json::array& items = found->get_array();
  if (items.size() > count_max) return fail(Code::kTooLarge, std::string(name) + ": too many");
  out.reserve(items.size());
  std::uint64_t last = 0;
  for (const json::value& item : items) {
    const std::int64_t* number = item.if_int64();
    if (number == nullptr || *number <= 0 || static_cast<std::uint64_t>(*number) <= last) {
      return bad(name, "is not a rising list of numbers from 1");
    }
    last = static_cast<std::uint64_t>(*number);
    out.push_back(last);
  }
  return out;
}

Result<std::uint32_t> posix_id_of(const json::object& o, std::string_view name) {
  ASSIGN_OR_RETURN(const std::uint64_t id, number_or(o, name, std::nullopt, kIdMin, kIdMax));
  if (id == 65534 || id == 65535) return bad(name, "is reserved (nobody)");
  return static_cast<std::uint32_t>(id);
}

/// A field of a passwd line.
Result<std::string> field_of(std::string_view text, std::string_view name, std::size_t bytes_max) {
  if (text.size() > bytes_max) return bad(name, "is too long");
  if (text.contains(':') || has_control_characters(text)) {
    return bad(name, "has a ':' or a control character");
  }
  return std::string(text);
}

Result<std::string> path_of(const json::object& o, std::string_view name, std::size_t bytes_max) {
  ASSIGN_OR_RETURN(const std::string_view text, text_of(o, name));
  if (!text.starts_with('/') || text.size() < 2) return bad(name, "is not an absolute path");
  std::string_view rest = text;
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the slash
    const std::string_view segment = rest.substr(0, rest.find('/'));
    if (segment.empty() || segment == "." || segment == "..") {
      return bad(name, "has an empty, '.' or '..' segment");
    }
    rest.remove_prefix(segment.size());
  }
  return field_of(text, name, bytes_max);
}

Result<posix::NodeKey> parse_key(const json::value& item) {
  ASSIGN_OR_RETURN(const json::object* o, object_of(item, "keys"));
  ASSIGN_OR_RETURN(const std::string_view line, text_of(*o, "line"));
  ASSIGN_OR_RETURN(const posix::SshPublicKey key, posix::SshPublicKey::parse(line));
  ASSIGN_OR_RETURN(const std::uint64_t not_before, number_or(*o, "not_before", 0));
  ASSIGN_OR_RETURN(const std::uint64_t not_after, number_or(*o, "not_after", 0));
  return posix::NodeKey{.line = key.line(),
                        .fingerprint = key.fingerprint(),
                        .not_before = static_cast<posix::UnixSeconds>(not_before),
                        .not_after = static_cast<posix::UnixSeconds>(not_after)};
}

Result<std::vector<posix::NodeKey>> keys_of(const json::object& o, const Limits& limits) {
  std::vector<posix::NodeKey> out;
  const json::value* found = json::find(o, "keys");
  if (found == nullptr) return out;
  if (!found->is_array()) return bad("keys", "is not a list");
  const json::array& items = found->get_array();
  if (items.size() > limits.keys_max) return fail(Code::kTooLarge, "keys: too many");
  for (const json::value& item : items) {
    ASSIGN_OR_RETURN(posix::NodeKey key, parse_key(item));
    out.push_back(std::move(key));
  }
  return out;
}

Result<Message> parse_head(const json::object& o) {
  Head head;
  RETURN_IF_ERROR(number_or(o, "v", std::nullopt, kVersion, kVersion));
  ASSIGN_OR_RETURN(const std::string_view epoch, text_of(o, "epoch"));
  if (!is_epoch_text(epoch)) return bad("epoch", "is not an epoch");
  head.epoch = epoch;
  ASSIGN_OR_RETURN(head.head.value, number_or(o, "head", std::nullopt));
  ASSIGN_OR_RETURN(const std::string_view org, text_of(o, "org"));
  if (!is_org_slug(org)) return bad("org", "is not an organization's slug");
  head.org = org;
  ASSIGN_OR_RETURN(const std::string_view view, text_of(o, "view"));
  if (!is_label(view)) return bad("view", "is not a view's name");
  head.view = view;
  ASSIGN_OR_RETURN(const std::string_view kind, text_of(o, "kind"));
  if (kind != "delta" && kind != "snapshot") return bad("kind", "is not delta or snapshot");
  head.kind = kind == "delta" ? Kind::kDelta : Kind::kSnapshot;
  ASSIGN_OR_RETURN(head.keys, flag_or(o, "keys", false));
  ASSIGN_OR_RETURN(head.shrink_ok, flag_or(o, "shrink_ok", false));
  return Message(std::move(head));
}

Result<Message> parse_user(const json::object& o, const Limits& limits) {
  ASSIGN_OR_RETURN(const std::uint64_t n, number_or(o, "n", std::nullopt, 1));
  ASSIGN_OR_RETURN(const std::uint64_t seq, number_or(o, "seq", std::nullopt, 1));
  ASSIGN_OR_RETURN(const std::string_view name_text, text_of(o, "name"));
  ASSIGN_OR_RETURN(posix::LoginName name, posix::LoginName::parse(name_text));
  ASSIGN_OR_RETURN(const std::uint32_t uid, posix_id_of(o, "uid"));
  posix::NodeUser user{.n = n,
                       .seq = Seq{seq},
                       .name = std::move(name),
                       .uid = uid,
                       .gid = uid,
                       .gecos = {},
                       .home = {},
                       .shell = {},
                       .groups = {},
                       .keys = {}};
  if (json::find(o, "gid") != nullptr) {
    ASSIGN_OR_RETURN(user.gid, posix_id_of(o, "gid"));
  }
  if (json::find(o, "gecos") != nullptr) {
    ASSIGN_OR_RETURN(const std::string_view gecos, text_of(o, "gecos"));
    ASSIGN_OR_RETURN(user.gecos, field_of(gecos, "gecos", kGecosBytesMax));
  }
  ASSIGN_OR_RETURN(user.home, path_of(o, "home", kHomeBytesMax));
  ASSIGN_OR_RETURN(user.shell, path_of(o, "shell", kShellBytesMax));
  ASSIGN_OR_RETURN(user.locked, flag_or(o, "locked", false));
  ASSIGN_OR_RETURN(const std::uint64_t valid_until, number_or(o, "valid_until", 0));
  user.valid_until = static_cast<posix::UnixSeconds>(valid_until);
  ASSIGN_OR_RETURN(user.groups, numbers_of(o, "groups", limits.groups_max));
  ASSIGN_OR_RETURN(user.keys, keys_of(o, limits));
  return Message(std::move(user));
}

Result<Message> parse_group(const json::object& o, const Limits& limits) {
  ASSIGN_OR_RETURN(const std::uint64_t n, number_or(o, "n", std::nullopt, 1));
  ASSIGN_OR_RETURN(const std::uint64_t seq, number_or(o, "seq", std::nullopt, 1));
  ASSIGN_OR_RETURN(const std::string_view name_text, text_of(o, "name"));
  ASSIGN_OR_RETURN(posix::GroupName name, posix::GroupName::parse(name_text));
  ASSIGN_OR_RETURN(const std::uint32_t gid, posix_id_of(o, "gid"));
  posix::NodeGroup group{
      .n = n, .seq = Seq{seq}, .name = std::move(name), .gid = gid, .parents = {}};
  ASSIGN_OR_RETURN(group.parents, numbers_of(o, "parents", limits.groups_max));
  return Message(std::move(group));
}

template <typename Gone>
Result<Message> parse_gone(const json::object& o) {
  Gone gone;
  ASSIGN_OR_RETURN(gone.n, number_or(o, "n", std::nullopt, 1));
  ASSIGN_OR_RETURN(gone.seq.value, number_or(o, "seq", std::nullopt, 1));
  return Message(gone);
}

bool is_word(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

bool is_more_text(std::string_view text) {
  return !text.empty() && text.size() <= kMoreBytesMax &&
         std::ranges::all_of(text, [](char c) { return is_word(c) || c == '.' || c == '~'; });
}

Result<Counts> counts_of(const json::object& o) {
  const json::object* counts = json::find_object(o, "counts");
  if (counts == nullptr) return bad("counts", "is missing or not an object");
  Counts out;
  ASSIGN_OR_RETURN(out.users, number_or(*counts, "users", std::nullopt));
  ASSIGN_OR_RETURN(out.groups, number_or(*counts, "groups", std::nullopt));
  ASSIGN_OR_RETURN(out.gone, number_or(*counts, "gone", std::nullopt));
  return out;
}

Result<Message> parse_end(const json::object& o) {
  End end;
  ASSIGN_OR_RETURN(end.counts, counts_of(o));
  ASSIGN_OR_RETURN(end.final, flag_or(o, "final", true));
  if (end.final) {
    ASSIGN_OR_RETURN(const std::string_view cursor, text_of(o, "cursor"));
    if (!is_cursor_text(cursor)) return bad("cursor", "is not a cursor");
    end.cursor = cursor;
  } else {
    ASSIGN_OR_RETURN(const std::string_view more, text_of(o, "more"));
    if (!is_more_text(more)) return bad("more", "is not a continuation");
    end.more = more;
  }
  if (const json::value* found = json::find(o, "totals"); found != nullptr) {
    ASSIGN_OR_RETURN(const json::object* totals, object_of(*found, "totals"));
    end.totals.emplace();
    ASSIGN_OR_RETURN(end.totals->users, number_or(*totals, "users", std::nullopt));
    ASSIGN_OR_RETURN(end.totals->groups, number_or(*totals, "groups", std::nullopt));
  }
  return Message(std::move(end));
}

Result<Message> parse_reset(const json::object& o) {
  ASSIGN_OR_RETURN(const std::string_view reason, text_of(o, "reason"));
  std::size_t size = std::min(reason.size(), kReasonBytesMax);
  while (size < reason.size() && (static_cast<unsigned char>(reason[size]) & 0xC0) == 0x80) --size;
  return Message(Reset{std::string(reason.substr(0, size))});
}

}  // namespace

std::string Cursor::encode() const {
  std::string out = epoch;
  out += '.';
  put_number(out, seq.value);
  out += '.';
  out += tag;
  return out;
}

bool is_epoch_text(std::string_view text) {
  return !text.empty() && text.size() <= kEpochBytesMax && std::ranges::all_of(text, is_word);
}

bool is_cursor_text(std::string_view text) {
  return !text.empty() && text.size() <= kCursorBytesMax &&
         std::ranges::all_of(text, [](char c) { return is_word(c) || c == '.'; });
}

Result<Cursor> Cursor::decode(std::string_view text) {
  const auto error = [] { return fail(Code::kInvalidArgument, "not a cursor of this feed"); };
  const std::size_t first = text.find('.');
  if (first == std::string_view::npos || !is_epoch_text(text.substr(0, first))) return error();
  Cursor cursor{.epoch = std::string(text.substr(0, first)), .seq = {}, .tag = {}};
  const char* const end = text.data() + text.size();
  const auto [next, code] = std::from_chars(text.data() + first + 1, end, cursor.seq.value);
  if (code != std::errc() || next == end || *next != '.' || cursor.seq.value > kIntMax) {
    return error();
  }
  cursor.tag.assign(next + 1, end);
  const bool tag_is_hex = std::ranges::all_of(
      cursor.tag, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!tag_is_hex || cursor.tag.size() > kTagDigitsMax) return error();
  if (cursor.encode() != text) return error();  // leading zeros
  return cursor;
}

void append(std::string& out, const Head& head) {
  LineWriter line(out, "head");
  line.number("v", kVersion);
  line.text("epoch", head.epoch);
  line.text("org", head.org);
  line.text("view", head.view);
  line.text("kind", head.kind == Kind::kDelta ? "delta" : "snapshot");
  line.number("head", head.head.value);
  line.yes("keys", head.keys);
  line.yes("shrink_ok", head.shrink_ok);
  line.close();
}

void append(std::string& out, const posix::NodeUser& user) {
  LineWriter line(out, "user");
  line.number("n", user.n);
  line.number("seq", user.seq.value);
  line.text("name", user.name.str());
  line.number("uid", user.uid);
  if (user.gid != user.uid) line.number("gid", user.gid);
  if (!user.gecos.empty()) line.text("gecos", user.gecos);
  line.text("home", user.home);
  line.text("shell", user.shell);
  line.yes("locked", user.locked);
  line.number_unless_zero("valid_until", user.valid_until);
  line.numbers("groups", user.groups);
  put_keys(out, line, user.keys);
  line.close();
}

void append(std::string& out, const posix::NodeGroup& group) {
  LineWriter line(out, "group");
  line.number("n", group.n);
  line.number("seq", group.seq.value);
  line.text("name", group.name.str());
  line.number("gid", group.gid);
  line.numbers("parents", group.parents);
  line.close();
}

void append(std::string& out, const UserGone& gone) {
  LineWriter line(out, "user_gone");
  line.number("n", gone.n);
  line.number("seq", gone.seq.value);
  line.close();
}

void append(std::string& out, const GroupGone& gone) {
  LineWriter line(out, "group_gone");
  line.number("n", gone.n);
  line.number("seq", gone.seq.value);
  line.close();
}

void append(std::string& out, const End& end) {
  LineWriter line(out, "end");
  line.member("counts");
  out += "{\"users\":";
  put_number(out, end.counts.users);
  out += ",\"groups\":";
  put_number(out, end.counts.groups);
  out += ",\"gone\":";
  put_number(out, end.counts.gone);
  out += '}';
  if (end.final) {
    line.text("cursor", end.cursor);
  } else {
    line.member("final");
    out += "false";
    line.text("more", end.more);
  }
  if (end.totals) {
    line.member("totals");
    out += "{\"users\":";
    put_number(out, end.totals->users);
    out += ",\"groups\":";
    put_number(out, end.totals->groups);
    out += '}';
  }
  line.close();
}

void append(std::string& out, const Reset& reset) {
  LineWriter line(out, "reset");
  line.text("reason", reset.reason);
  line.close();
}

Result<std::optional<Message>> parse_message(std::string_view line, const Limits& limits) {
  ASSIGN_OR_RETURN(const json::value parsed,
                   json::parse(line, {.bytes_max = limits.line_bytes_max, .depth_max = kDepthMax}));
  ASSIGN_OR_RETURN(const json::object* o, object_of(parsed, "(the line)"));
  ASSIGN_OR_RETURN(const std::string_view type, text_of(*o, "t"));
  const auto parse = [o, type, &limits]() -> std::optional<Result<Message>> {
    if (type == "user") return parse_user(*o, limits);
    if (type == "group") return parse_group(*o, limits);
    if (type == "user_gone") return parse_gone<UserGone>(*o);
    if (type == "group_gone") return parse_gone<GroupGone>(*o);
    if (type == "head") return parse_head(*o);
    if (type == "end") return parse_end(*o);
    if (type == "reset") return parse_reset(*o);
    return std::nullopt;
  };
  std::optional<Result<Message>> message = parse();
  if (!message) return std::optional<Message>();
  if (!*message) return fail_in(type, std::move(message->error()));
  return std::optional<Message>(std::move(**message));
}

Result<void> Decoder::push(std::string_view piece, const Sink& sink) {
  if (failed_) return std::unexpected(*failed_);
  const auto remember = [this](Error error) {
    failed_ = error;
    partial_ = {};
    return std::unexpected(std::move(error));
  };
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    const bool whole = end != std::string_view::npos;
    const std::string_view part = piece.substr(0, end);
    if (partial_.size() + part.size() >= limits_.line_bytes_max) {
      return remember({Code::kTooLarge, "line " + std::to_string(lines_ + 1) + " of the feed"});
    }
    if (!whole) {
      partial_ += part;
      break;
    }
    Result<void> taken;
    if (partial_.empty()) {
      taken = take_line(part, sink);
    } else {
      partial_ += part;
      taken = take_line(partial_, sink);
      partial_.clear();
    }
    if (!taken) return remember(std::move(taken.error()));
    piece.remove_prefix(end + 1);
  }
  return {};
}

Result<void> Decoder::take_line(std::string_view line, const Sink& sink) {
  ++lines_;
  const auto at = [this] { return "line " + std::to_string(lines_) + " of the feed"; };
  Result<std::optional<Message>> message = parse_message(line, limits_);
  if (!message) return fail_in(at(), std::move(message.error()));
  if (state_ == State::kDone) {
    if (chain_ == Chain::kOne) return fail(Code::kInvalidArgument, at() + ": follows the end");
    state_ = State::kStart;
    counts_ = {};
    last_user_ = last_group_ = 0;
  }
  if (!*message) return {};
  if (Result<void> accepted = accept(**message); !accepted) {
    return fail_in(at(), std::move(accepted.error()));
  }
  return sink(std::move(**message));
}

Result<void> Decoder::accept(const Message& message) {
  if (const Head* head = std::get_if<Head>(&message)) {
    if (state_ != State::kStart) return fail(Code::kInvalidArgument, "a second head");
    head_ = *head;
    state_ = State::kRecords;
    return {};
  }
  if (std::holds_alternative<Reset>(message)) {
    if (state_ != State::kStart) return fail(Code::kInvalidArgument, "a reset inside a stream");
    state_ = State::kDone;
    return {};
  }
  if (state_ != State::kRecords) return fail(Code::kInvalidArgument, "no head before it");
  if (const End* end = std::get_if<End>(&message)) {
    if (end->counts != counts_) {
      return fail(Code::kInvalidArgument, "counts differ from the records that came");
    }
    if (head_.kind == Kind::kSnapshot && !end->final) {
      return fail(Code::kInvalidArgument, "a snapshot in parts");
    }
    state_ = State::kDone;
    return {};
  }
  return accept_record(message);
}

Result<void> Decoder::accept_record(const Message& message) {
  const auto invalid = [](const char* why) { return fail(Code::kInvalidArgument, why); };
  const bool snapshot = head_.kind == Kind::kSnapshot;
  std::uint64_t* count = &counts_.gone;
  if (const auto* user = std::get_if<posix::NodeUser>(&message)) {
    if (!head_.keys && !user->keys.empty()) return invalid("keys in a view without keys");
    if (snapshot && counts_.gone > 0) return invalid("a user after the removals of a snapshot");
    if (snapshot && user->n <= last_user_) return invalid("users of a snapshot out of order");
    last_user_ = user->n;
    count = &counts_.users;
  } else if (const auto* group = std::get_if<posix::NodeGroup>(&message)) {
    if (snapshot && counts_.users + counts_.gone > 0) {
      return invalid("a group after the users or removals of a snapshot");
    }
    if (snapshot && group->n <= last_group_) return invalid("groups of a snapshot out of order");
    last_group_ = group->n;
    count = &counts_.groups;
  }
  if (*count >= limits_.records_max) return fail(Code::kTooLarge, "too many records");
  ++*count;
  return {};
}

Result<void> Decoder::finish() const {
  if (failed_) return std::unexpected(*failed_);
  if (state_ != State::kDone || !partial_.empty()) {
    return fail(Code::kDataLoss, "the feed's stream was cut before its end");
  }
  return {};
}

}  // namespace roster::feed
