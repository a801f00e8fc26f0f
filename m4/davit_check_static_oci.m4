dnl SPDX-License-Identifier: LGPL-2.1-or-later
dnl
dnl DAVIT_CHECK_STATIC_OCI - Whether davit-oci can be linked without shared libraries, by $enable_static_oci (yes, no, auto).
dnl
dnl Substitutes OCI_LDFLAGS and OCI_LIBS: what davit-oci is linked with.
AC_DEFUN([DAVIT_CHECK_STATIC_OCI], [
  static_oci=no
  OCI_LDFLAGS="$DAVIT_LDFLAGS"
  OCI_LIBS="$GLIB_LIBS $SECCOMP_LIBS"
  AS_IF([test "x$enable_static_oci" != xno], [
    static_libs=`$PKG_CONFIG --static --libs glib-2.0 libseccomp 2>/dev/null`
    static_ldflags=`AS_ECHO(["$DAVIT_LDFLAGS"]) | sed 's/^-pie //; s/ -pie / /'`
    dnl GLib can ask for users, which needs shared libraries of the C library's; nothing of davit-oci has it do so.
    static_ldflags="-static-pie $static_ldflags -Wl,--defsym=getpwnam_r=abort -Wl,--defsym=getpwuid=abort -Wl,--defsym=getpwuid_r=abort"
    AC_MSG_CHECKING([whether davit-oci can be linked statically])
    save_LIBS="$LIBS" save_LDFLAGS="$LDFLAGS" save_CFLAGS="$CFLAGS"
    LIBS="$static_libs $LIBS" LDFLAGS="$LDFLAGS $static_ldflags" CFLAGS="$CFLAGS -fPIE $GLIB_CFLAGS $SECCOMP_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <glib.h>
#include <seccomp.h>]], [[g_free(g_strdup(g_get_prgname())); seccomp_release(seccomp_init(SCMP_ACT_ALLOW));]])], [static_oci=yes])
    LIBS="$save_LIBS" LDFLAGS="$save_LDFLAGS" CFLAGS="$save_CFLAGS"
    AC_MSG_RESULT([$static_oci])
    AS_IF([test "x$static_oci" = xyes], [OCI_LDFLAGS="$static_ldflags" OCI_LIBS="$static_libs"],
      [test "x$enable_static_oci" = xyes], [AC_MSG_ERROR([--enable-static-oci: static libraries of GLib, libseccomp or the C library are missing])])])
  AC_SUBST([OCI_LDFLAGS])
  AC_SUBST([OCI_LIBS])
])
