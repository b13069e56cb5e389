// SPDX-License-Identifier: Apache-2.0
// The report of a guest's death, for people and for programs. Both say the same.
#pragma once

#include "vmm/report/diagnosis.h"

namespace seamless::vmm::report {

// Lines, the last one ended too.
[[nodiscard]] std::string as_text(const Facts& facts, const std::vector<Diagnosis>& diagnoses);
// One JSON object: docs/reports.md.
[[nodiscard]] std::string as_json(const Facts& facts, const std::vector<Diagnosis>& diagnoses);

} // namespace seamless::vmm::report
