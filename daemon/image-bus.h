/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus face of images: org.davit.Davit1.Image, and what Manager says about images. */

#include "daemon/event.h"
#include "daemon/image.h"

int image_bus_register(Manager *m);

/* methods of Manager; userdata is the Manager */
int method_get_image(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_get_image_name(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_import_image(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_pull_image(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_save_images(sd_bus_message *m, void *userdata, sd_bus_error *error);
int method_list_images(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* what image.c says; nothing happens without Manager.bus */
void image_event(const Image *image, EventType type);
void image_bus_added(Image *image);
void image_bus_removed(Image *image);
void image_bus_changed(Image *image);
void image_bus_pinned(Image *image);
