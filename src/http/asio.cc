// The one place where Boost.Asio's out-of-line code is compiled.
#include <boost/asio/impl/src.hpp>
