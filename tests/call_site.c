/* SPDX-License-Identifier: MIT */
#include "call_site.h"

/* By the linker: where the section begins and ends. */
extern struct call_site *__start_call_sites[];
extern struct call_site *__stop_call_sites[];

static struct call_site *current;

void call_site_enter(struct call_site *site)
{
	site->above = current;
	current = site;
}

void call_site_leave(struct call_site *site)
{
	current = site->above;
}

void call_site_failed(enum sim_call call)
{
	(void)call;
	for (struct call_site *site = current; site; site = site->above)
		site->failed++;
}

struct call_site *const *call_sites(size_t *count)
{
	*count = (size_t)(__stop_call_sites - __start_call_sites);
	return __start_call_sites;
}
