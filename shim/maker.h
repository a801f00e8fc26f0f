/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The maker: clones one process for davit-oci and ends (shared/maker-protocol.h). */

#include "shared/maker-protocol.h"

int maker_main(int sock);
