#pragma once

#include "api/rest.h"
#include "apps/control_loop.h"
#include "apps/rank_logs.h"
#include "io/journal.h"

namespace holdfast {

// The answers of the REST API that only look. On the loop's thread. REQUIRES: `ask` is one of
// those.
[[nodiscard]] HttpResponse render_view(const Ask& ask, const ControlLoop& loop,
                                       const RankLogs& logs);
// Any thread.
[[nodiscard]] HttpResponse view_events(Journal& journal, const ask::Events& ask);

[[nodiscard]] Error no_such_job(const JobRef& ref);

}  // namespace holdfast
