#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Generates the build system of a git checkout; then ./configure or, out of tree, PATH/configure.
set -e
cd "$(dirname "$0")"
autoreconf --install --force
