#include "store/postgres_connection.h"

#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "store/sql_text.h"

namespace roster::store {
namespace {

// Object identifiers of built-in types (PostgreSQL's catalog/pg_type.dat); they never change.
constexpr Oid kBool = 16;
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr Oid kBpchar = 1042;
constexpr Oid kVarchar = 1043;
constexpr Oid kName = 19;
constexpr Oid kInferred = 0;

template <typename T>
T from_network(const char* bytes) {
  std::make_unsigned_t<T> value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<std::make_unsigned_t<T>>(value << 8 | static_cast<unsigned char>(bytes[i]));
  }
  return std::bit_cast<T>(value);
}

std::array<char, 8> to_network(std::int64_t value) {
  std::array<char, 8> bytes;
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (56 - 8 * i) & 0xff);
  }
  return bytes;
}

class PostgresRow final : public Row {
 public:
  PostgresRow(const PGresult* result, int row) : result_(result), row_(row) {}

  bool is_null(int column) const override {
    check_column(column);
    return PQgetisnull(result_, row_, column) != 0;
  }

  std::int64_t integer(int column) const override {
    CHECK(!is_null(column));
    const char* bytes = PQgetvalue(result_, row_, column);
    switch (PQftype(result_, column)) {
      case kInt8:
        return from_network<std::int64_t>(bytes);
      case kInt4:
        return from_network<std::int32_t>(bytes);
      case kInt2:
        return from_network<std::int16_t>(bytes);
      case kBool:
        return bytes[0] != 0 ? 1 : 0;
      default:
        check_failed("the column is an integer", std::source_location::current());
    }
  }

  std::string_view text(int column) const override {
    CHECK(!is_null(column));
    const Oid type = PQftype(result_, column);
    CHECK(type == kText || type == kVarchar || type == kBpchar || type == kName);
    return bytes(column);
  }

  std::string_view blob(int column) const override {
    CHECK(!is_null(column));
    CHECK(PQftype(result_, column) == kBytea);
    return bytes(column);
  }

 private:
  void check_column(int column) const { CHECK(column >= 0 && column < PQnfields(result_)); }

  std::string_view bytes(int column) const {
    return {PQgetvalue(result_, row_, column),
            static_cast<std::size_t>(PQgetlength(result_, row_, column))};
  }

  const PGresult* result_;
  int row_;
};

Oid type_of(const Param& param) {
  struct Visitor {
    Oid operator()(std::nullptr_t) const { return kInferred; }
    Oid operator()(std::int64_t) const { return kInt8; }
    Oid operator()(std::string_view) const { return kText; }
    Oid operator()(const BlobView&) const { return kBytea; }
  };
  return std::visit(Visitor{}, param);
}

/// Parameters in libpq's arrays, all in binary form. `params` must outlive it.
class Bound {
 public:
  explicit Bound(std::span<const Param> params) : formats(params.size(), 1) {
    integers_.reserve(params.size());
    for (const Param& param : params) add(param);
  }

  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;

 private:
  void add(const Param& param) {
    if (std::holds_alternative<std::nullptr_t>(param)) return add_bytes(nullptr, 0);
    if (const auto* n = std::get_if<std::int64_t>(&param)) {
      return add_bytes(integers_.emplace_back(to_network(*n)).data(), 8);
    }
    const auto* text = std::get_if<std::string_view>(&param);
    const std::string_view view = text != nullptr ? *text : std::get<BlobView>(param).bytes;
    add_bytes(view.data() == nullptr ? "" : view.data(), view.size());
  }

  void add_bytes(const char* bytes, std::size_t size) {
    values.push_back(bytes);
    lengths.push_back(static_cast<int>(size));
  }

  std::vector<std::array<char, 8>> integers_;
};

std::string_view field(const PGresult* result, int code) {
  const char* text = result == nullptr ? nullptr : PQresultErrorField(result, code);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

struct Meaning {
  Code code;
  Trouble trouble = Trouble::kOther;
};

/// SQLSTATE (PostgreSQL's appendix A). Empty when the connection was lost.
Meaning meaning_of(std::string_view state) {
  const std::string_view klass = state.substr(0, 2);
  if (state == "23505") return {Code::kAlreadyExists};
  if (state == "23503") return {Code::kFailedPrecondition};
  if (state == "40001" || state == "40P01") return {Code::kUnavailable, Trouble::kRetry};
  if (state == "53100") return {Code::kUnavailable, Trouble::kDiskFull};
  if (state == "55P03" || state == "57014") return {Code::kUnavailable};
  if (state == "22021" || state == "22P05") return {Code::kInvalidArgument};
  if (state == "XX001" || state == "XX002") return {Code::kDataLoss};
  if (state == "42501") return {Code::kPermissionDenied};
  if (state == "08P01") return {Code::kInternal};  // a protocol mistake, ours
  if (klass == "54") return {Code::kTooLarge};
  for (const std::string_view passing : {"", "08", "53", "57", "58"}) {
    if (klass == passing) return {Code::kUnavailable};
  }
  return {Code::kInternal};
}

/// "taken: tbl(a, b)" from the parts of a uniqueness error. The columns stand in the detail,
/// "Key (a, b)=(1, x) already exists." in whatever language; the values stay out.
std::string taken_message(const PGresult* result) {
  const std::string_view detail = field(result, PG_DIAG_MESSAGE_DETAIL);
  const std::size_t open = detail.find('(');
  const std::size_t close = detail.find(")=(");
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return "taken: " + std::string(field(result, PG_DIAG_CONSTRAINT_NAME));
  }
  std::string columns;
  for (const char c : detail.substr(open + 1, close - open - 1)) {
    if (c != '"') columns += c;  // names that are also keywords come quoted
  }
  return "taken: " + std::string(field(result, PG_DIAG_TABLE_NAME)) + "(" + columns + ")";
}

/// What of an error may be told. Messages of data errors (classes 22 and 23) quote values.
std::string tellable(const PGresult* result, std::string_view state, Code code) {
  if (state.empty()) return "the connection to the database was lost";
  if (code == Code::kAlreadyExists) return taken_message(result);
  if (state.substr(0, 2) != "22" && state.substr(0, 2) != "23") {
    return std::string(field(result, PG_DIAG_MESSAGE_PRIMARY));
  }
  std::string text = "SQLSTATE " + std::string(state);
  for (const int part : {PG_DIAG_TABLE_NAME, PG_DIAG_COLUMN_NAME, PG_DIAG_CONSTRAINT_NAME}) {
    if (const std::string_view name = field(result, part); !name.empty()) {
      text += " ";
      text += name;
    }
  }
  return text;
}

/// Keywords and values of a connection string, the fixed ones of ours behind them.
struct ConnectWords {
  std::vector<std::string> keywords;
  std::vector<std::string> values;
  std::string password;
};

Result<ConnectWords> parse_url(const Secret& url) {
  char* ignored = nullptr;  // libpq's reason may quote a part of the password
  PQconninfoOption* parsed = PQconninfoParse(url.expose().c_str(), &ignored);
  if (ignored != nullptr) PQfreemem(ignored);
  if (parsed == nullptr) {
    return fail(Code::kInvalidArgument,
                "the database URL is neither a postgresql:// URL nor a list of keyword=value");
  }
  ConnectWords words;
  for (const PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    words.keywords.emplace_back(option->keyword);
    words.values.emplace_back(option->val);
    if (words.keywords.back() == "password") words.password = option->val;
  }
  PQconninfoFree(parsed);
  const auto set_default = [&words](const char* keyword, const char* value) {
    for (const std::string& have : words.keywords) {
      if (have == keyword) return;
    }
    words.keywords.emplace_back(keyword);
    words.values.emplace_back(value);
  };
  set_default("connect_timeout", "10");      // seconds
  set_default("tcp_user_timeout", "15000");  // milliseconds; a silent peer counts as lost after it
  set_default("application_name", "rosterd");
  words.keywords.emplace_back("client_encoding");
  words.values.emplace_back("UTF8");
  return words;
}

std::string without(std::string text, const std::string& secret) {
  for (std::size_t at = 0; !secret.empty() && (at = text.find(secret, at)) != std::string::npos;) {
    text.replace(at, secret.size(), "***");
    at += 3;
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<PostgresConnection>> PostgresConnection::open(
    const PostgresOptions& options) {
  ASSIGN_OR_RETURN(const ConnectWords words, parse_url(options.url));
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (std::size_t i = 0; i < words.keywords.size(); ++i) {
    keywords.push_back(words.keywords[i].c_str());
    values.push_back(words.values[i].c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(options.statements_max));
  connection->connection_.reset(PQconnectdbParams(keywords.data(), values.data(), 0));
  CHECK(connection->connection_ != nullptr);
  if (!connection->alive()) {
    return fail(Code::kUnavailable,
                "cannot connect to the database: " +
                    without(PQerrorMessage(connection->connection_.get()), words.password));
  }
  RETURN_IF_ERROR(connection->configure(options));
  return connection;
}

Result<void> PostgresConnection::configure(const PostgresOptions& options) {
  PQsetNoticeProcessor(connection_.get(), [](void*, const char*) {}, nullptr);
  if (PQserverVersion(connection_.get()) < 120000) {
    return fail(Code::kFailedPrecondition, "PostgreSQL 12 or newer is needed");
  }
  // An acknowledged write survives: a server that was told to answer before its disk does is asked
  // for more in our sessions. Stronger settings than "on" are left alone.
  const std::string settings =
      "SET statement_timeout = " + std::to_string(options.statement_timeout.count()) +
      "; SET lock_timeout = " + std::to_string(options.lock_timeout.count()) +
      "; SELECT set_config('synchronous_commit', 'on', false)"
      " WHERE current_setting('synchronous_commit') = 'off'";
  RETURN_IF_ERROR(control(settings.c_str()));
  const char* encoding = PQparameterStatus(connection_.get(), "server_encoding");
  if (encoding == nullptr || std::string_view(encoding) != "UTF8") {
    return fail(Code::kFailedPrecondition, "the database must have the encoding UTF8");
  }
  return {};
}

Error PostgresConnection::error_from(std::string_view what, const PGresult* result) {
  std::string_view state = field(result, PG_DIAG_SQLSTATE);
  if (state.empty() || !alive()) {  // an error of libpq itself
    lost_ = true;
    state = {};
  }
  const Meaning meaning = meaning_of(state);
  if (trouble_ != Trouble::kDiskFull && trouble_ != Trouble::kRetry) trouble_ = meaning.trouble;
  return Error{meaning.code, std::string(what) + ": " + tellable(result, state, meaning.code)};
}

bool PostgresConnection::in_transaction() const {
  if (!alive()) return false;
  const PGTransactionStatusType status = PQtransactionStatus(connection_.get());
  return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

Result<void> PostgresConnection::control(const char* sql) {
  const Answer answer(PQexec(connection_.get(), sql));
  const ExecStatusType status = PQresultStatus(answer.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return {};
  return std::unexpected(error_from("transaction", answer.get()));
}

Result<void> PostgresConnection::commit() {
  const Answer answer(PQexec(connection_.get(), "COMMIT"));
  if (PQresultStatus(answer.get()) != PGRES_COMMAND_OK) {
    return std::unexpected(error_from("commit", answer.get()));
  }
  // COMMIT of a failed transaction is no error to the server: it answers ROLLBACK.
  if (std::string_view(PQcmdStatus(answer.get())) != "COMMIT") {
    return fail(Code::kUnavailable, "commit: the transaction had failed before");
  }
  return {};
}

/// The name of the prepared statement for this SQL with parameters of these types. Types are
/// declared, not inferred, so that an integer is 64 bits wide whatever it is compared with.
Result<std::string> PostgresConnection::prepare(const Statement& s, std::span<const Param> params) {
  std::vector<Oid> types;
  types.reserve(params.size());
  std::string key(s.sql);
  key += '\0';
  for (const Param& param : params) {
    types.push_back(type_of(param));
    key += static_cast<char>('0' + param.index());
  }
  if (const auto* entry = cache_.find(key)) return entry->handle;
  CHECK(number_parameters(s.sql).parameters_max == static_cast<int>(params.size()));
  std::string name = "r" + std::to_string(++statements_made_);
  const Answer answer(PQprepare(connection_.get(), name.c_str(), std::string(s.sql).c_str(),
                                static_cast<int>(types.size()), types.data()));
  if (PQresultStatus(answer.get()) != PGRES_COMMAND_OK) {
    return std::unexpected(error_from(s.name, answer.get()));
  }
  cache_.insert(key, name);
  if (const auto evicted = cache_.evict()) {
    const Answer dropped(PQexec(connection_.get(), ("DEALLOCATE " + *evicted).c_str()));
    if (PQresultStatus(dropped.get()) != PGRES_COMMAND_OK) {
      return std::unexpected(error_from(s.name, dropped.get()));
    }
  }
  return name;
}

Result<PostgresConnection::Answer> PostgresConnection::run(const Statement& s,
                                                           std::span<const Param> params) {
  ASSIGN_OR_RETURN(const std::string name, prepare(s, params));
  const Bound bound(params);
  Answer answer(PQexecPrepared(connection_.get(), name.c_str(), static_cast<int>(params.size()),
                               bound.values.data(), bound.lengths.data(), bound.formats.data(),
                               /*resultFormat=*/1));
  const ExecStatusType status = PQresultStatus(answer.get());
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    return std::unexpected(error_from(s.name, answer.get()));
  }
  return answer;
}

Result<std::int64_t> PostgresConnection::do_execute(const Statement& s,
                                                    std::span<const Param> params) {
  ASSIGN_OR_RETURN(const Answer answer, run(s, params));
  if (std::string_view(PQcmdStatus(answer.get())).starts_with("SELECT")) return 0;
  const char* count = PQcmdTuples(answer.get());
  return count[0] == '\0' ? 0 : std::strtoll(count, nullptr, 10);
}

Result<void> PostgresConnection::do_query(const Statement& s, std::span<const Param> params,
                                          const RowFn& fn) {
  ASSIGN_OR_RETURN(const Answer answer, run(s, params));
  for (int row = 0; row < PQntuples(answer.get()); ++row) {
    RETURN_IF_ERROR(fn(PostgresRow(answer.get(), row)));
  }
  return {};
}

Result<void> PostgresConnection::do_script(std::string_view sql) {
  const Answer answer(PQexec(connection_.get(), std::string(sql).c_str()));
  const ExecStatusType status = PQresultStatus(answer.get());
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
    return {};
  }
  return std::unexpected(error_from("script", answer.get()));
}

}  // namespace roster::store
