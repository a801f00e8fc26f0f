/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From D-Bus errors to sentences. Davit's own errors carry a sentence that says what to do, which is printed as it is;
 * the bus's errors are turned into what they mean to somebody who wanted a container. Which exit status an error stands
 * for is the caller's to say.
 */

#include "ctl/bus.h"
#include "ctl/resource.h"

/** error_is() - whether an error is the named one of org.davit.Davit1.Error. */
bool error_is(const BusError *error, const char *name) {
        return error && error->name && strncmp(error->name, BUS_ERROR, strlen(BUS_ERROR)) == 0 &&
               streq(error->name + strlen(BUS_ERROR), name);
}

/** error_is_bus() - whether an error is the named one of org.freedesktop.DBus.Error. */
bool error_is_bus(const BusError *error, const char *name) {
        return error && strncmp(error->name, DBUS_ERROR, strlen(DBUS_ERROR)) == 0 &&
               streq(error->name + strlen(DBUS_ERROR), name);
}

/** error_no_object() - whether the object called does not exist: for us, no such container, task or image. */
bool error_no_object(const BusError *error) {
        return error_is_bus(error, "UnknownObject") || error_is_bus(error, "UnknownMethod") ||
               error_is_bus(error, "UnknownInterface");
}

static bool not_reachable(const char *name) {
        return streq(name, DBUS_ERROR "ServiceUnknown") || streq(name, DBUS_ERROR "NameHasNoOwner") ||
               strncmp(name, "org.freedesktop.DBus.Error.Spawn.", 33) == 0 ||
               strncmp(name, "org.freedesktop.systemd1.", 25) == 0;
}

/* A sentence of the manager's, which may begin with its name for an option of ours. */
static int report_sentence(Ctl *ctl, const char *message) {
        size_t n = 0;
        const char *option = resource_said(ctl, message, &n);

        if (!option)
                return ctl_error(ctl, "%s", message);
        return ctl_error(ctl, "--%s%s%s", option, message[n - 1] == '.' ? " " : "", message + n);
}

static int report(Ctl *ctl, const char *name, const char *message, const char *subject) {
        if (not_reachable(name))
                return ctl_error(ctl, _("the manager cannot be reached (%s); see 'systemctl status davitd'"), message);
        if (streq(name, DBUS_ERROR "AccessDenied"))
                return ctl_error(ctl, _("access denied: only root may do this"));
        if (streq(name, DBUS_ERROR "NoReply") || streq(name, DBUS_ERROR "Disconnected"))
                return ctl_error(ctl, _("the manager went away before it answered; see 'journalctl -u davitd'"));
        if (strncmp(name, BUS_ERROR, strlen(BUS_ERROR)) == 0 && *message)
                return report_sentence(ctl, message);
        if (subject)
                return ctl_error(ctl, "%s: %s (%s)", subject, message, name);
        return ctl_error(ctl, "%s (%s)", message, name);
}

/**
 * call_report() - prints the error a call ended with.
 * @subject: what the user named, or NULL.
 *
 * Returns the exit status of a failure.
 */
int call_report(Ctl *ctl, const Call *call, const char *subject) {
        const BusError *error = call_error(call);

        return report(ctl, error->name, error->message ?: "", subject);
}

/** bus_protocol_error() - prints that the connection or a message failed; returns the exit status of a failure. */
int bus_protocol_error(Ctl *ctl, int r) {
        if (r == -ENOMEM)
                return ctl_oom(ctl);
        if (r == -EACCES || r == -EPERM)
                return ctl_error(ctl, _("the system bus refused the connection: %s"), strerror(-r));
        if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)
                return ctl_error(ctl, _("the connection to the system bus was lost"));
        if (r == -EINVAL)
                return ctl_error(ctl, _("an argument is not valid UTF-8 text"));
        return ctl_error(ctl, _("the message bus failed: %s"), strerror(-r));
}
