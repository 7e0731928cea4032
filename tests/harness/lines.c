/* From an address in this program to a line of source. */
#include "internal.h"

#include <unistd.h>

#include "doctor_walk.h"

bool find_line(const void *address, struct line *at)
{
	static Dwfl *program;
	Dwarf_Addr pc = (uintptr_t)address;
	Dwfl_Module *module;

	if (program == NULL)
		program = open_process(getpid());
	module = program ? dwfl_addrmodule(program, pc) : NULL;
	if (module == NULL)
		return false;
	at->file = find_source(module, pc, &at->number);
	at->function = dwfl_module_addrname(module, pc);
	return at->file != NULL && at->function != NULL;
}

const char *source_of_function(const void *function)
{
	struct line at;

	return find_line(function, &at) ?
	       text("%s:%d (%s)", at.file, at.number, at.function) : "";
}

const char *source_line(const void *address)
{
	return source_of_function(before_return(address));
}
