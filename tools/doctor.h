/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the checks of `nixstore doctor` share: doctor.c has the table of them, doctor-*.c the
 * checks. A check adds a finding for each thing that is wrong and none for what is fine; it never
 * fails.
 */
#pragma once

#include "podman-info.h"

#include <glib.h>

typedef enum {
  DOCTOR_NOTE,    /* worth knowing; nothing is wrong */
  DOCTOR_WARNING, /* something will go wrong, or does not do what it says */
  DOCTOR_ERROR,   /* containers of image paths do not start */
} DoctorSeverity;

typedef struct {
  const char *check; /* of the table */
  DoctorSeverity severity;
  gboolean is_fixed; /* by --fix */
  char *what;        /* one line: what is wrong */
  char *advice;      /* one line: what to do */
} DoctorFinding;

typedef struct {
  GPtrArray *findings; /* of DoctorFinding */
  const char *check;   /* the one that runs */
  gboolean fix;
  PodmanInfo *podman; /* NULL: no answer from Podman, which is a finding already */
} Doctor;

/* Adds a finding of the check that runs. Takes over both texts. */
DoctorFinding *doctor_add(Doctor *doctor, DoctorSeverity severity, char *what, char *advice);

void doctor_check_settings(Doctor *doctor);
void doctor_check_modes(Doctor *doctor);
void doctor_check_fuse(Doctor *doctor);
void doctor_check_subids(Doctor *doctor);
void doctor_check_store(Doctor *doctor);
void doctor_check_podman(Doctor *doctor);
void doctor_check_images(Doctor *doctor);
void doctor_check_mounts(Doctor *doctor);
void doctor_check_servers(Doctor *doctor);
void doctor_check_leftovers(Doctor *doctor);
