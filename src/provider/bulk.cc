#include "provider/bulk.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unicode.h"
#include "provider/resources.h"
#include "scim/error.h"
#include "scim/schema.h"
#include "scim/value.h"

namespace roster::provider {
namespace {

using directory::Directory;

constexpr std::string_view kReference = "bulkId:";

/// The bulkId that a text stands for; nothing for any other text.
std::optional<std::string_view> referred(std::string_view text) {
  if (text.size() <= kReference.size() || !text.starts_with(kReference)) return std::nullopt;
  return text.substr(kReference.size());
}

/// References stand where ids do: in `value` and `$ref`, alone or in a list.
bool may_refer(std::string_view name) {
  return ascii_iequals(name, "value") || ascii_iequals(name, "$ref");
}

/// Calls `visit(string)` for each text in `value` that may be a reference.
template <typename Value, typename Visit>
void visit_references(Value& value, bool here, const Visit& visit) {
  if (value.is_string()) {
    if (here) visit(value);
  } else if (value.is_array()) {
    for (auto& item : value.get_array()) visit_references(item, here, visit);
  } else if (value.is_object()) {
    for (auto& member : value.get_object()) {
      visit_references(member.value(), may_refer({member.key().data(), member.key().size()}),
                       visit);
    }
  }
}

/// Whether an element of a list, or a complex value, is nothing without its reference.
bool is_reference(const json::value& value, bool here) {
  if (value.is_string()) return here && referred(json::view(value.get_string())).has_value();
  if (!value.is_object()) return false;
  return std::ranges::any_of(value.get_object(), [](const auto& member) {
    return member.value().is_string() &&
           is_reference(member.value(), may_refer({member.key().data(), member.key().size()}));
  });
}

/// Takes out what refers to something that is not there yet; gives it in the same shape, or null.
json::value take_references(json::value& value, bool here) {
  json::array items;
  json::object members;
  if (value.is_array()) {
    json::array kept;
    for (json::value& item : value.get_array()) {
      (is_reference(item, here) ? items : kept).push_back(std::move(item));
    }
    value = std::move(kept);
  } else if (value.is_object()) {
    json::object kept;
    for (auto& member : value.get_object()) {
      const bool refers = may_refer({member.key().data(), member.key().size()});
      if (is_reference(member.value(), refers)) {
        members[member.key()] = std::move(member.value());
        continue;
      }
      json::value taken = take_references(member.value(), refers);
      if (!taken.is_null()) members[member.key()] = std::move(taken);
      kept[member.key()] = std::move(member.value());
    }
    value = std::move(kept);
  }
  if (!items.empty()) return items;
  if (!members.empty()) return members;
  return nullptr;
}

/// One operation as the client wrote it.
struct Operation {
  std::string method;
  std::string path;
  std::optional<std::string> bulk_id;
  std::string version;
  json::value data;
  std::optional<Error> error;  // what is wrong with its form
  // From the path:
  const Functions* functions = nullptr;
  std::optional<std::string> id;
};

Error bad_operation(std::string what) {
  return Error{Code::kInvalidArgument, std::move(what), scim::kInvalidSyntax};
}

/// "/Users" or "/Groups/ID".
void parse_path(Operation& operation) {
  std::string_view path = operation.path;
  if (!path.starts_with('/')) {
    operation.error = bad_operation("path must begin with \"/\", for example \"/Users\"");
    return;
  }
  path.remove_prefix(1);
  const std::size_t slash = path.find('/');
  operation.functions = functions_of(path.substr(0, slash));
  if (slash != std::string_view::npos) operation.id = std::string(path.substr(slash + 1));
  const bool sound = operation.functions != nullptr &&
                     (!operation.id || (!operation.id->empty() && !operation.id->contains('/')));
  if (!sound) {
    operation.error = bad_operation("path is neither \"/Users\", \"/Groups\" nor one below them");
  }
}

Operation parse_operation(const json::object& fields) {
  Operation operation;
  const auto text = [&fields, &operation](std::string_view name) -> std::optional<std::string> {
    const json::value* value = scim::find_without_case(fields, name);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (value->is_string()) return std::string(json::view(value->get_string()));
    operation.error = bad_operation(std::string(name) + " must be a string");
    return std::nullopt;
  };
  operation.method = text("method").value_or("");
  operation.path = text("path").value_or("");
  operation.bulk_id = text("bulkId");
  operation.version = text("version").value_or("");
  if (const json::value* data = scim::find_without_case(fields, "data")) operation.data = *data;
  std::ranges::transform(operation.method, operation.method.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  if (operation.error) return operation;
  parse_path(operation);
  if (operation.error) return operation;
  const std::string& method = operation.method;
  if (method != "POST" && method != "PUT" && method != "PATCH" && method != "DELETE") {
    operation.error = bad_operation("method must be POST, PUT, PATCH or DELETE");
  } else if (method == "POST" && !operation.bulk_id) {
    operation.error = bad_operation("POST needs a bulkId");
  } else if ((method == "POST") == operation.id.has_value()) {
    operation.error = bad_operation(method == "POST" ? "POST takes the path of a type"
                                                     : method + " needs the path of a resource");
  }
  return operation;
}

struct BulkRequest {
  std::vector<Operation> operations;
  std::int64_t errors_max = 0;  // 0: any number
};

Result<BulkRequest> parse_bulk(const json::value& body) {
  const auto bad = [](std::string what) {
    return fail(Code::kInvalidArgument, std::move(what), scim::kInvalidSyntax);
  };
  const json::object* fields = body.if_object();
  if (fields == nullptr) return bad("the body must be a JSON object");
  const json::value* schemas = scim::find_without_case(*fields, "schemas");
  if (schemas == nullptr || !scim::names_schema(*schemas, scim::kBulkRequestUrn)) {
    return bad("schemas must name " + std::string(scim::kBulkRequestUrn));
  }
  BulkRequest request;
  if (const json::value* most = scim::find_without_case(*fields, "failOnErrors");
      most != nullptr && !most->is_null()) {
    if (!most->is_int64() || most->get_int64() < 0) {
      return bad("failOnErrors must be an integer, not negative");
    }
    request.errors_max = most->get_int64();
  }
  const json::value* operations = scim::find_without_case(*fields, "Operations");
  if (operations == nullptr || !operations->is_array()) return bad("Operations must be a list");
  const json::array& list = operations->get_array();
  if (list.size() > kBulkOperationsMax) {
    return fail(Code::kTooLarge, "more than " + std::to_string(kBulkOperationsMax) +
                                     " operations (maxOperations) in one request");
  }
  std::set<std::string> bulk_ids;
  for (const json::value& item : list) {
    if (!item.is_object()) return bad("each operation must be a JSON object");
    request.operations.push_back(parse_operation(item.get_object()));
    const auto& bulk_id = request.operations.back().bulk_id;
    if (bulk_id && !bulk_ids.insert(*bulk_id).second) {
      return bad("two operations have the bulkId " + *bulk_id);
    }
  }
  return request;
}

/// One bulk request at work.
class Bulk {
 public:
  Bulk(Directory& directory, const Call& call, const BulkRules& rules, BulkRequest request)
      : directory_(directory), call_(call), rules_(rules), request_(std::move(request)) {
    work_.resize(request_.operations.size());
    for (std::size_t i = 0; i < request_.operations.size(); ++i) {
      const Operation& operation = request_.operations[i];
      if (operation.method == "POST" && operation.bulk_id) by_bulk_id_[*operation.bulk_id] = i;
    }
    for (std::size_t i = 0; i < request_.operations.size(); ++i) find_needs(i);
  }

  json::object run() {
    for (std::size_t i = 0; i < work_.size() && !is_over(); ++i) {
      if (work_[i].state == State::kWaiting) carry_out_with_needs(i);
    }
    json::array results;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      if (work_[i].state == State::kDone) results.emplace_back(result_of(i));
    }
    json::object body;
    body["schemas"] = json::array{scim::kBulkResponseUrn};
    body["Operations"] = std::move(results);
    return body;
  }

 private:
  enum class State { kWaiting, kBegun, kDone };
  struct Work {
    State state = State::kWaiting;
    std::vector<std::size_t> needs;  // operations whose resources it refers to, in order
    std::size_t needs_seen = 0;
    json::value left_out;                // references of what is made to what was not there yet
    std::size_t missing = 0;             // how many operations those wait for
    std::vector<std::size_t> followers;  // operations that wait so for this one
    bool made = false;                   // a resource, by POST
    std::string id;                      // of the resource
    std::string version;
    int status = 0;
    std::optional<Error> error;
  };

  bool is_over() const { return request_.errors_max > 0 && errors_ >= request_.errors_max; }

  void end(Work& work, Error error) {
    work.status = scim::http_status(error);
    work.error = std::move(error);
    work.state = State::kDone;
    ++errors_;
  }

  void find_needs(std::size_t index) {
    const Operation& operation = request_.operations[index];
    if (operation.error) return;
    const auto need = [this, index](std::string_view text) {
      const auto bulk_id = referred(text);
      if (!bulk_id) return;
      const auto found = by_bulk_id_.find(*bulk_id);
      if (found != by_bulk_id_.end()) work_[index].needs.push_back(found->second);
    };
    if (operation.id) need(*operation.id);
    visit_references(operation.data, false,
                     [&need](const json::value& text) { need(json::view(text.get_string())); });
  }

  /// Depth first, what an operation refers to before itself. The stack is our own: how long a chain
  /// of references is, is the client's choice. Test: TheLongestChainOfReferencesIsResolved.
  void carry_out_with_needs(std::size_t root) {
    std::vector<std::size_t> stack{root};
    while (!stack.empty()) {
      const std::size_t index = stack.back();
      Work& work = work_[index];
      work.state = State::kBegun;
      if (const auto next = next_need(work)) {
        stack.push_back(*next);
        continue;
      }
      stack.pop_back();
      carry_out(index);
      // A circle is closed before anything else of this request can change who is in it.
      for (const std::size_t follower : work.followers) {
        if (--work_[follower].missing == 0) complete(follower);
      }
    }
  }

  std::optional<std::size_t> next_need(Work& work) const {
    while (work.needs_seen < work.needs.size() && !is_over()) {
      const std::size_t next = work.needs[work.needs_seen++];
      if (work_[next].state == State::kWaiting) return next;
    }
    return std::nullopt;
  }

  /// The operation whose resource a bulkId stands for. kFailedPrecondition when there will be none.
  Result<std::size_t> resolve(std::string_view bulk_id) const {
    const auto refuse = [bulk_id](std::string_view before, std::string_view after) {
      std::string sentence(before);
      sentence.append("bulkId:").append(bulk_id).append(after);
      return fail(Code::kFailedPrecondition, std::move(sentence), scim::kInvalidValue);
    };
    const auto found = by_bulk_id_.find(bulk_id);
    if (found == by_bulk_id_.end()) return refuse("no operation of this request makes ", "");
    const Work& other = work_[found->second];
    if (other.state != State::kBegun && !other.made) return refuse("", " was not made");
    return found->second;
  }

  /// Puts ids in place of references; the operations under way, whose references are left.
  Result<std::set<std::size_t>> substitute(json::value& data) const {
    std::set<std::size_t> left;
    std::optional<Error> error;
    visit_references(data, false, [this, &left, &error](json::value& text) {
      const auto bulk_id = referred(json::view(text.get_string()));
      if (!bulk_id || error) return;
      const auto other = resolve(*bulk_id);
      if (!other) {
        error = other.error();
      } else if (work_[*other].made) {
        text = work_[*other].id;
      } else {
        left.insert(*other);
      }
    });
    if (error) return std::unexpected(std::move(*error));
    return left;
  }

  void carry_out(std::size_t index) {
    Operation& operation = request_.operations[index];
    Work& work = work_[index];
    if (is_over()) {
      work.state = State::kWaiting;  // not carried out, and not told
      return;
    }
    if (operation.error) return end(work, *operation.error);
    if (Result<void> may = may_begin(); !may) return end(work, std::move(may).error());
    if (operation.id) {
      work.id = *operation.id;
      if (const auto bulk_id = referred(*operation.id)) {
        const auto other = resolve(*bulk_id);
        if (!other) return end(work, other.error());
        work.id = work_[*other].id;
      }
    }
    const auto left = substitute(operation.data);
    if (!left) return end(work, left.error());
    if (!left->empty()) work.left_out = take_references(operation.data, false);
    perform(operation, operation.method, operation.version, work);
    if (work.error || work.left_out.is_null()) return;
    work.missing = left->size();
    for (const std::size_t other : *left) work_[other].followers.push_back(index);
  }

  /// Whether the next operation may still be carried out; once no, always no.
  Result<void> may_begin() {
    if (!stopped_ && rules_.clock() - began_ > rules_.time_max) {
      stopped_ = Error{Code::kUnavailable,
                       "not carried out: the request's time was used up by the operations before; "
                       "send this one again"};
    }
    return still_allowed();
  }

  Result<void> still_allowed() {
    if (!stopped_) {
      if (Result<void> allowed = rules_.still_allowed(); !allowed) stopped_ = allowed.error();
    }
    return stopped_ ? Result<void>(std::unexpected(*stopped_)) : Result<void>();
  }

  /// Adds the references that were left out, and nothing else: what others wrote since stays.
  void complete(std::size_t index) {
    Operation& operation = request_.operations[index];
    Work& work = work_[index];
    const int status = work.status;
    const auto left = substitute(work.left_out);
    Result<void> sound = left ? Result<void>() : std::unexpected(left.error());
    if (sound) sound = still_allowed();
    if (sound) {
      operation.data =
          json::object{{"Operations", {{{"op", "add"}, {"value", std::move(work.left_out)}}}}};
      perform(operation, "PATCH", "", work);
    } else {
      end(work, std::move(sound).error());
    }
    if (work.error) {
      work.error->message.insert(0, "made, but without its references: ");
    } else {
      work.status = status;
    }
  }

  /// With the operation's data.
  void perform(const Operation& operation, const std::string& method, const std::string& version,
               Work& work) {
    http::Request request;
    request.method = method;
    if (!version.empty()) request.headers.set("If-Match", version);
    // Nobody is shown the resource: nothing of it is loaded. Groups answer PATCH with 204.
    const bool shows = method != "PATCH" || &operation.functions->type() == &scim::user_type();
    const auto query = http::Query::parse(shows ? "attributes=id" : "");
    if (!query) return end(work, query.error());
    const Call call{.request = request,
                    .query = *query,
                    .actor = call_.actor,
                    .org = call_.org,
                    .base = call_.base,
                    .scanned_rows_max = call_.scanned_rows_max,
                    .now = call_.now};
    auto answer = call_function(*operation.functions, call, method, work.id, operation.data);
    if (!answer) return end(work, std::move(answer).error());
    work.status = answer->status;
    work.version = answer->headers.get("ETag");
    if (method == "POST") {
      const std::string_view location = answer->headers.get("Location");
      work.id = location.substr(location.rfind('/') + 1);
      work.made = true;
    }
    work.state = State::kDone;
  }

  Result<http::Response> call_function(const Functions& functions, const Call& call,
                                       const std::string& method, const std::string& id,
                                       const json::value& data) {
    if (method == "POST") return functions.create(directory_, call, data);
    if (method == "PUT") return functions.replace(directory_, call, id, data);
    if (method == "PATCH") return functions.patch(directory_, call, id, data);
    return functions.remove(directory_, call, id);
  }

  json::object result_of(std::size_t index) const {
    const Operation& operation = request_.operations[index];
    const Work& work = work_[index];
    json::object out;
    out["method"] = operation.method;
    if (operation.bulk_id) out["bulkId"] = *operation.bulk_id;
    if (operation.functions != nullptr && !work.id.empty()) {
      out["location"] =
          call_.base + std::string(operation.functions->type().endpoint) + "/" + work.id;
    }
    if (!work.version.empty()) out["version"] = work.version;
    out["status"] = std::to_string(work.status);
    if (work.error) out["response"] = error_object(*work.error);
    return out;
  }

  Directory& directory_;
  const Call& call_;
  const BulkRules& rules_;
  BulkRequest request_;
  const std::chrono::milliseconds began_ = rules_.clock();
  std::vector<Work> work_;
  std::map<std::string, std::size_t, std::less<>> by_bulk_id_;
  std::int64_t errors_ = 0;
  std::optional<Error> stopped_;  // why nothing more is carried out
};

}  // namespace

Result<http::Response> answer_bulk(Directory& directory, const Call& call, const BulkRules& rules,
                                   const json::value& body) {
  ASSIGN_OR_RETURN(BulkRequest request, parse_bulk(body));
  return json_answer(200, Bulk(directory, call, rules, std::move(request)).run());
}

}  // namespace roster::provider
