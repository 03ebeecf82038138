#include "scim/filter.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/unicode.h"
#include "scim/error.h"
#include "scim/value.h"

namespace roster::scim {
namespace {

constexpr std::array<std::pair<std::string_view, Op>, 10> kOps = {{{"eq", Op::kEq},
                                                                   {"ne", Op::kNe},
                                                                   {"co", Op::kCo},
                                                                   {"sw", Op::kSw},
                                                                   {"ew", Op::kEw},
                                                                   {"pr", Op::kPr},
                                                                   {"gt", Op::kGt},
                                                                   {"ge", Op::kGe},
                                                                   {"lt", Op::kLt},
                                                                   {"le", Op::kLe}}};

bool is_number(std::string_view text, double& number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stop == end && std::isfinite(number);
}

/// Whether a filter in brackets can stand behind it.
bool has_elements(const AttributeRef& ref) {
  return ref.attribute != nullptr && ref.sub == nullptr &&
         (ref.attribute->multi_valued || ref.attribute->type == Type::kComplex);
}

/// An attribute compared as text.
bool is_text(Type type) {
  return type == Type::kString || type == Type::kReference || type == Type::kBinary;
}

}  // namespace

/// Recursive descent over RFC 7644 figure 1; also reads the paths of PATCH.
class FilterParser {
 public:
  FilterParser(const ResourceType& type, std::string_view text) : type_(type), text_(text) {}

  Result<Filter> filter() {
    if (text_.size() > kFilterBytesMax) {
      return fail(Code::kInvalidArgument,
                  "filter: longer than " + std::to_string(kFilterBytesMax) + " bytes",
                  kInvalidFilter);
    }
    ASSIGN_OR_RETURN(FilterNode root, parse_or());
    skip_spaces();
    if (position_ < text_.size()) return bad("expected \"and\", \"or\" or the end");
    return Filter(type_, std::move(root));
  }

  Result<std::optional<Path>> path() {
    is_path_ = true;
    if (text_.size() > kFilterBytesMax) return bad_path("too long");
    const std::string_view name = attribute_token();
    const bool in_brackets = position_ < text_.size() && text_[position_] == '[';
    if (!is_attribute_path(name)) return bad_path("not an attribute path");
    const std::optional<AttributeRef> ref = resolve(type_, name);
    if (!ref && is_foreign_urn(name)) return std::optional<Path>();
    if (!ref) return bad_path("there is no attribute " + std::string(name));
    Path path{.ref = *ref};
    if (in_brackets) {
      if (!has_elements(*ref))
        return bad_path("only a whole list or complex attribute takes a filter");
      ASSIGN_OR_RETURN(FilterNode node, bracketed(*ref));
      path.filter = Filter(type_, std::move(node));
      ASSIGN_OR_RETURN(path.ref.sub, sub_behind_brackets(*ref));
    }
    if (position_ < text_.size()) return bad_path("unexpected text after the path");
    return path;
  }

 private:
  std::unexpected<Error> bad(const std::string& what) const {
    return fail(Code::kInvalidArgument,
                "filter: " + what + ", at byte " + std::to_string(position_), kInvalidFilter);
  }
  std::unexpected<Error> bad_path(const std::string& what) const {
    return fail(Code::kInvalidArgument, "path: " + what + ", at byte " + std::to_string(position_),
                kInvalidPath);
  }

  void skip_spaces() {
    while (position_ < text_.size() && text_[position_] == ' ') ++position_;
  }
  bool take(char c) {
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  /// What may be an attribute's name, URN included.
  std::string_view attribute_token() {
    const std::size_t begin = position_;
    while (position_ < text_.size()) {
      const char c = text_[position_];
      const bool part = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '$' || c == ':' ||
                        c == '.' || c == '/';
      if (!part) break;
      ++position_;
    }
    return text_.substr(begin, position_ - begin);
  }

  /// Takes the keyword when it stands here as a whole word.
  bool take_word(std::string_view word) {
    const std::string_view rest = text_.substr(position_);
    if (rest.size() < word.size() || !ascii_iequals(rest.substr(0, word.size()), word)) {
      return false;
    }
    if (rest.size() > word.size() && rest[word.size()] != ' ' && rest[word.size()] != '(') {
      return false;
    }
    position_ += word.size();
    return true;
  }

  Result<FilterNode> parse_or() { return parse_chain("or", FilterNode::Kind::kOr); }
  Result<FilterNode> parse_and() { return parse_chain("and", FilterNode::Kind::kAnd); }

  /// operand (keyword operand)*; "and" binds tighter than "or".
  Result<FilterNode> parse_chain(std::string_view keyword, FilterNode::Kind kind) {
    const auto operand = [this, kind] {
      return kind == FilterNode::Kind::kOr ? parse_and() : parse_unary();
    };
    ASSIGN_OR_RETURN(FilterNode first, operand());
    FilterNode chain{.kind = kind};
    chain.children.push_back(std::move(first));
    while (true) {
      const std::size_t before = position_;
      skip_spaces();
      if (!take_word(keyword)) {
        position_ = before;
        break;
      }
      ASSIGN_OR_RETURN(FilterNode next, operand());
      chain.children.push_back(std::move(next));
    }
    if (chain.children.size() > 1) return chain;
    FilterNode only = std::move(chain.children.front());
    return only;
  }

  Result<FilterNode> parse_unary() {
    skip_spaces();
    if (++nodes_ > kFilterNodesMax) return bad("too many comparisons");
    const std::size_t before = position_;
    if (take_word("not")) {
      skip_spaces();
      if (take('(')) {
        ASSIGN_OR_RETURN(FilterNode inner, parenthesized());
        FilterNode negation{.kind = FilterNode::Kind::kNot};
        negation.children.push_back(std::move(inner));
        return negation;
      }
      position_ = before;
      return bad("\"not\" needs parentheses");
    }
    if (take('(')) return parenthesized();
    return parse_comparison();
  }

  Result<FilterNode> parenthesized() {
    if (++depth_ > kFilterDepthMax) return bad("nested too deeply");
    ASSIGN_OR_RETURN(FilterNode inner, parse_or());
    skip_spaces();
    if (!take(')')) return bad("expected \")\"");
    --depth_;
    return inner;
  }

  Result<FilterNode> parse_comparison() {
    const std::size_t begin = position_;
    const std::string_view name = attribute_token();
    if (!is_attribute_path(name)) {
      position_ = begin;
      return bad("expected an attribute");
    }
    const std::optional<AttributeRef> ref =
        element_ ? resolve_in_element(name) : resolve(type_, name);
    if (position_ < text_.size() && text_[position_] == '[') return parse_value_path(ref);
    // Of a path, it says what PATCH changes: "ne" and "not" must not select everything by a typo.
    if (is_path_ && !ref) return bad("there is no sub-attribute " + std::string(name));
    FilterNode node;
    node.comparison.path = ref;
    RETURN_IF_ERROR(parse_operation(node.comparison));
    return node;
  }

  /// A name inside brackets is relative to the attribute in front of them.
  std::optional<AttributeRef> resolve_in_element(std::string_view name) const {
    AttributeRef ref = *element_;
    if (ref.attribute->type != Type::kComplex) {
      // RFC 7644 3.5.2 calls the elements of a simple list "value".
      if (ascii_iequals(name, "value")) return ref;
      return std::nullopt;
    }
    ref.sub = find_attribute(ref.attribute->sub_attributes, name);
    if (ref.sub == nullptr) return std::nullopt;
    return ref;
  }

  Result<FilterNode> parse_value_path(const std::optional<AttributeRef>& ref) {
    if (element_) return bad("a value path inside a value path");
    if (!ref || !has_elements(*ref)) return bad("this attribute takes no filter in brackets");
    FilterNode node{.kind = FilterNode::Kind::kValuePath, .path = ref};
    ASSIGN_OR_RETURN(FilterNode inner, bracketed(*ref));
    ASSIGN_OR_RETURN(const Attribute* sub, sub_behind_brackets(*ref));
    if (sub != nullptr) {
      // emails[type eq "work"].value co "x" is emails[type eq "work" and value co "x"].
      FilterNode last;
      last.comparison.path = *ref;
      last.comparison.path->sub = sub;
      RETURN_IF_ERROR(parse_operation(last.comparison));
      FilterNode both{.kind = FilterNode::Kind::kAnd};
      both.children.push_back(std::move(inner));
      both.children.push_back(std::move(last));
      inner = std::move(both);
    }
    node.children.push_back(std::move(inner));
    return node;
  }

  Result<FilterNode> bracketed(const AttributeRef& ref) {
    take('[');
    element_ = ref;
    ASSIGN_OR_RETURN(FilterNode inner, parse_or());
    element_.reset();
    skip_spaces();
    if (!take(']')) return bad("expected \"]\"");
    return inner;
  }

  /// ".value" behind "]", or nothing.
  Result<const Attribute*> sub_behind_brackets(const AttributeRef& ref) {
    if (!take('.')) return nullptr;
    const Attribute* sub = find_attribute(ref.attribute->sub_attributes, attribute_token());
    if (sub == nullptr) {
      return is_path_ ? bad_path("there is no such sub-attribute")
                      : bad("there is no such sub-attribute");
    }
    return sub;
  }

  Result<void> parse_operation(Comparison& comparison) {
    if (!take(' ')) return bad("expected an operator");
    skip_spaces();
    const auto* found = std::ranges::find_if(kOps, [this](const auto& op) {
      return ascii_iequals(text_.substr(position_, 2), op.first);
    });
    if (found == kOps.end()) return bad("expected an operator");
    position_ += 2;
    comparison.op = found->second;
    if (comparison.op != Op::kPr) {
      if (!take(' ')) return bad("expected a value");
      skip_spaces();
      RETURN_IF_ERROR(parse_literal(comparison.literal));
    }
    return check(comparison);
  }

  Result<void> parse_literal(Literal& literal) {
    if (position_ < text_.size() && text_[position_] == '"') return parse_quoted(literal);
    const std::size_t begin = position_;
    while (position_ < text_.size() && text_[position_] != ' ' && text_[position_] != ')' &&
           text_[position_] != ']') {
      ++position_;
    }
    const std::string_view word = text_.substr(begin, position_ - begin);
    if (word.empty() || word.find_first_of("\"([{}") != std::string_view::npos ||
        !is_valid_utf8(word) || has_control_characters(word)) {
      position_ = begin;
      return bad("expected a value");
    }
    literal.null = word == "null";
    literal.text = word;
    return {};
  }

  Result<void> parse_quoted(Literal& literal) {
    const std::size_t begin = position_++;
    while (position_ < text_.size() && text_[position_] != '"') {
      position_ += text_[position_] == '\\' ? 2 : 1;
    }
    if (position_ >= text_.size()) {
      position_ = begin;
      return bad("a string without end");
    }
    ++position_;
    const Result<json::value> parsed = json::parse(text_.substr(begin, position_ - begin));
    if (!parsed || !parsed->is_string()) {
      position_ = begin;
      return bad("not a JSON string");
    }
    literal.text = json::view(parsed->get_string());
    return {};
  }

  /// Fits operator and literal to the attribute's type, and prepares the literal.
  Result<void> check(Comparison& comparison) {
    if (!comparison.path) return {};
    AttributeRef& path = *comparison.path;
    const bool present = comparison.op == Op::kPr;
    if (path.attribute == nullptr) {
      return present ? Result<void>() : bad("a schema can only be compared with \"pr\"");
    }
    if (path.leaf().type == Type::kComplex && !present) {
      path.sub = find_attribute(path.attribute->sub_attributes, "value");
      if (path.sub == nullptr) return bad(std::string(path.attribute->name) + " has no value");
    }
    if (present) return {};
    Literal& literal = comparison.literal;
    const bool equality = comparison.op == Op::kEq || comparison.op == Op::kNe;
    if (literal.null) {
      return equality ? Result<void>() : bad("null can only be compared with \"eq\" and \"ne\"");
    }
    return prepare(path.leaf(), comparison.op, literal);
  }

  Result<void> prepare(const Attribute& attribute, Op op, Literal& literal) {
    const bool equality = op == Op::kEq || op == Op::kNe;
    const bool partial = op == Op::kCo || op == Op::kSw || op == Op::kEw;
    switch (attribute.type) {
      case Type::kBoolean:
        if (!equality) return bad("a boolean has only \"eq\" and \"ne\"");
        literal.boolean = ascii_iequals(literal.text, "true");
        if (!literal.boolean && !ascii_iequals(literal.text, "false")) {
          return bad("expected true or false");
        }
        return {};
      case Type::kInteger:
        if (partial) return bad("a number has no parts");
        if (!is_number(literal.text, literal.number)) return bad("expected a number");
        return {};
      case Type::kDateTime: {
        if (partial) break;
        const Result<Timestamp> time = parse_rfc3339(literal.text);
        if (!time) return bad("expected a date and time with zone");
        literal.time = *time;
        return {};
      }
      case Type::kBinary:
        if (!equality && !partial) return bad("bytes have no order");
        break;
      case Type::kString:
      case Type::kReference:
      case Type::kComplex:
        break;
    }
    literal.key = text_key(attribute, literal.text);
    return {};
  }

  /// "urn:...:attr" below a URN that is not one of the type's schemas.
  bool is_foreign_urn(std::string_view name) const {
    if (name.size() < 4 || !ascii_iequals(name.substr(0, 4), "urn:")) return false;
    const auto below = [name](std::string_view urn) {
      return name.size() > urn.size() && ascii_iequals(name.substr(0, urn.size()), urn) &&
             name[urn.size()] == ':';
    };
    if (below(type_.core->id)) return false;
    return std::ranges::none_of(type_.extensions,
                                [&below](const Schema* s) { return below(s->id); });
  }

  const ResourceType& type_;
  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t depth_ = 0;
  std::size_t nodes_ = 0;
  bool is_path_ = false;
  std::optional<AttributeRef> element_;  // inside brackets
};

namespace {

bool ordered(Op op, int order) {
  switch (op) {
    case Op::kEq:
    case Op::kNe:
      return order == 0;
    case Op::kGt:
      return order > 0;
    case Op::kGe:
      return order >= 0;
    case Op::kLt:
      return order < 0;
    case Op::kLe:
      return order <= 0;
    case Op::kCo:
    case Op::kSw:
    case Op::kEw:
    case Op::kPr:
      break;
  }
  return false;
}

template <typename T>
int order_of(const T& a, const T& b) {
  return a < b ? -1 : (b < a ? 1 : 0);
}

bool text_holds(Op op, std::string_view value, std::string_view key) {
  switch (op) {
    case Op::kCo:
      return value.find(key) != std::string_view::npos;
    case Op::kSw:
      return value.starts_with(key);
    case Op::kEw:
      return value.ends_with(key);
    default:
      return ordered(op, order_of(value, key));
  }
}

/// One present value against the literal; `ne` is judged as `eq` (its caller negates).
bool value_holds(const Attribute& attribute, Op op, const json::value& value,
                 const Literal& literal) {
  if (attribute.type == Type::kBoolean) {
    return value.is_bool() && value.get_bool() == literal.boolean;
  }
  if (attribute.type == Type::kInteger) {
    return value.is_number() && ordered(op, order_of(value.to_number<double>(), literal.number));
  }
  if (!value.is_string()) return false;
  const std::string_view text = json::view(value.get_string());
  const bool partial = op == Op::kCo || op == Op::kSw || op == Op::kEw;
  if (attribute.type == Type::kDateTime && !partial) {
    const Result<Timestamp> time = parse_rfc3339(text);
    return time && ordered(op, order_of(*time, literal.time));
  }
  if (!is_text(attribute.type) && attribute.type != Type::kDateTime) return false;
  if (attribute.case_exact) return text_holds(op, text, literal.key);
  return text_holds(op, text_key(attribute, text), literal.key);
}

bool is_present(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return false;
    case json::kind::string:
      return !value.get_string().empty();
    case json::kind::array:
      return std::ranges::any_of(value.get_array(), is_present);
    case json::kind::object:
      return std::ranges::any_of(value.get_object(),
                                 [](const auto& member) { return is_present(member.value()); });
    default:
      return true;
  }
}

/// Whether `holds` is true of some value that `ref` selects in `v`, the attribute's value.
template <typename Holds>
bool any_value(const AttributeRef& ref, const json::value& v, const Holds& holds) {
  if (v.is_array()) {
    return std::ranges::any_of(
        v.get_array(), [&ref, &holds](const json::value& e) { return any_value(ref, e, holds); });
  }
  if (ref.sub == nullptr) return holds(v);
  if (!v.is_object()) return false;
  const json::value* part = json::find(v.get_object(), ref.sub->name);
  if (part == nullptr) return false;
  if (!part->is_array()) return holds(*part);
  return std::ranges::any_of(part->get_array(), holds);
}

bool comparison_holds(const Comparison& comparison, const json::value* value) {
  const bool negated = comparison.op == Op::kNe;
  if (value == nullptr || !comparison.path) {
    // No value: equal to nothing but null.
    return comparison.op == Op::kEq ? comparison.literal.null : negated && !comparison.literal.null;
  }
  const AttributeRef& path = *comparison.path;
  if (comparison.op == Op::kPr || comparison.literal.null) {
    const bool present =
        path.attribute == nullptr ? is_present(*value) : any_value(path, *value, is_present);
    return comparison.op == Op::kEq ? !present : present;
  }
  const auto holds = [&comparison, &path](const json::value& v) {
    return value_holds(path.leaf(), comparison.op, v, comparison.literal);
  };
  return any_value(path, *value, holds) != negated;
}

/// `find_value` gives the value that a comparison's path is about.
template <typename FindValue, typename Elements>
bool node_holds(const FilterNode& node, const FindValue& find_value, const Elements& elements) {
  const auto child_holds = [&find_value, &elements](const FilterNode& child) {
    return node_holds(child, find_value, elements);
  };
  switch (node.kind) {
    case FilterNode::Kind::kAnd:
      return std::ranges::all_of(node.children, child_holds);
    case FilterNode::Kind::kOr:
      return std::ranges::any_of(node.children, child_holds);
    case FilterNode::Kind::kNot:
      return !child_holds(node.children.front());
    case FilterNode::Kind::kComparison:
      return comparison_holds(node.comparison,
                              node.comparison.path ? find_value(*node.comparison.path) : nullptr);
    case FilterNode::Kind::kValuePath:
      return elements(node);
  }
  return false;
}

bool element_holds(const FilterNode& node, const json::value& element) {
  return node_holds(
      node, [&element](const AttributeRef&) { return &element; },
      [](const FilterNode&) { return false; });
}

void collect(const FilterNode& node, std::vector<const Comparison*>& out) {
  switch (node.kind) {
    case FilterNode::Kind::kAnd:
    case FilterNode::Kind::kValuePath:
      for (const FilterNode& child : node.children) collect(child, out);
      break;
    case FilterNode::Kind::kComparison:
      if (node.comparison.path && node.comparison.path->attribute != nullptr) {
        out.push_back(&node.comparison);
      }
      break;
    case FilterNode::Kind::kOr:
    case FilterNode::Kind::kNot:
      break;
  }
}

}  // namespace

Result<Filter> Filter::parse(const ResourceType& type, std::string_view text) {
  return FilterParser(type, text).filter();
}

bool Filter::matches(const json::object& resource) const {
  const auto find_value = [this, &resource](const AttributeRef& ref) {
    return value_at(*type_, ref, resource);
  };
  const auto elements = [&find_value](const FilterNode& node) {
    const json::value* value = find_value(*node.path);
    if (value == nullptr) return false;
    const FilterNode& inner = node.children.front();
    if (!value->is_array()) return element_holds(inner, *value);
    return std::ranges::any_of(value->get_array(), [&inner](const json::value& element) {
      return element_holds(inner, element);
    });
  };
  return node_holds(root_, find_value, elements);
}

bool Filter::matches_element(const json::value& element) const {
  return element_holds(root_, element);
}

bool uses(const FilterNode& node, std::string_view attribute) {
  const auto names = [attribute](const std::optional<AttributeRef>& ref) {
    return ref && (ref->attribute == nullptr || ref->attribute->name == attribute);
  };
  return names(node.path) || names(node.comparison.path) ||
         std::ranges::any_of(node.children, [attribute](const FilterNode& child) {
           return uses(child, attribute);
         });
}

std::vector<const Comparison*> Filter::conjuncts() const {
  std::vector<const Comparison*> out;
  collect(root_, out);
  return out;
}

Result<std::optional<Path>> parse_path(const ResourceType& type, std::string_view text) {
  return FilterParser(type, text).path();
}

}  // namespace roster::scim
