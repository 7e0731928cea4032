/*
 * From an address in a process to the line of source, by elfutils' libdw.
 */
#include "doctor_walk.h"

#include <string.h>
#include <unistd.h>

/* Only what lies in the program itself: no looking for files elsewhere, and
 * never in the network. */
static int no_debuginfo(Dwfl_Module *module, void **data, const char *name,
			Dwarf_Addr base, const char *file, const char *link,
			GElf_Word crc, char **found)
{
	(void)module, (void)data, (void)name, (void)base;
	(void)file, (void)link, (void)crc, (void)found;
	return -1;
}

Dwfl *open_process(pid_t pid)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = no_debuginfo,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);

	if (dwfl == NULL)
		return NULL;
	if (dwfl_linux_proc_report(dwfl, pid) == 0 &&
	    dwfl_report_end(dwfl, NULL, NULL) == 0)
		return dwfl;
	dwfl_end(dwfl);
	return NULL;
}

/* As one would type it: "./labs/..." and paths below here are shortened. */
static const char *short_path(const char *file)
{
	static char here[512];
	size_t n;

	if (here[0] == '\0' && getcwd(here, sizeof here) == NULL)
		here[0] = '\0';
	n = strlen(here);
	if (n > 1 && strncmp(file, here, n) == 0 && file[n] == '/')
		return file + n + 1;
	return strncmp(file, "./", 2) == 0 ? file + 2 : file;
}

/* By looking into each compilation unit: clang leaves no table of them. */
const char *find_source(Dwfl_Module *module, Dwarf_Addr pc, int *number)
{
	Dwarf_Die *unit = NULL;
	Dwarf_Line *line;
	Dwarf_Addr bias;

	while ((unit = dwfl_module_nextcu(module, unit, &bias)) != NULL) {
		if (dwarf_haspc(unit, pc - bias) <= 0)
			continue;
		line = dwarf_getsrc_die(unit, pc - bias);
		if (line != NULL && dwarf_lineno(line, number) == 0)
			return short_path(dwarf_linesrc(line, NULL, NULL));
	}
	return NULL;
}
