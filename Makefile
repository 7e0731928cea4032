# Forklab. `make help` lists the commands; those of a lab take LAB=02.
#
# An implementation is one object file for each of a lab's student files. The
# same header, demo programs and tests are linked with labs/ (the student's),
# solutions/, tests/*/wrong/, tests/*/right/, or FILE=some/other.c. Everything
# built lies in build/VARIANT/LAB/IMPLEMENTATION/.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := status
MAKEFLAGS += --no-builtin-rules

# ---- what there is ------------------------------------------------------------

LABS := $(sort $(patsubst labs/%/demo,%,$(wildcard labs/*/demo)))
THE_LAB = $(firstword $(filter $(LAB) $(LAB)-%,$(LABS)))

VARIANT ?= plain
BUILD := build/$(VARIANT)

CC := gcc
OPTIMIZE_plain := -O0
OPTIMIZE_fast := -O2
OPTIMIZE_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
OPTIMIZE_coverage := -O0 --coverage
# A fortified read() would be called __read_chk(), and escape our eyes.
COMMON_FLAGS := -std=c17 -g -pthread -U_FORTIFY_SOURCE -fno-pie -fno-omit-frame-pointer \
	-ffile-prefix-map=$(CURDIR)=. $(OPTIMIZE_$(VARIANT)) -MMD -MP
# Ours is held to more than a student's: unused parts are no misconception. An
# optimizer guesses, and each release guesses otherwise: only told.
WARNINGS := -Wall -Wextra $(if $(filter plain,$(VARIANT)),-Werror)
STUDENT_WARNINGS := $(WARNINGS) -Wno-unused-parameter -Wno-unused-function \
	-Wno-unused-variable -Wno-unused-but-set-variable
OUR_WARNINGS := $(WARNINGS) -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wvla -Wwrite-strings -Wpointer-arith
# Resolved at the start: each forked child would look the names up anew.
LDFLAGS := -no-pie -pthread -Wl,-z,now $(OPTIMIZE_$(VARIANT))
LDLIBS := -lgmp -lm
DW := $$(tests/harness/doctor/libdw)
TEST_LIBS := -lcmocka $(DW) $(LDLIBS)
OUR_HEADERS := $(addprefix -iquote ,common tests/harness tests/harness/calls \
	tests/harness/doctor tests/harness/explorer)
# A file that asks for the GNU names itself must not be told twice.
gnu = $(if $(shell grep -sE '^[[:space:]]*\#[[:space:]]*define[[:space:]]+_GNU_SOURCE' $(1)),,-D_GNU_SOURCE)

# ---- libraries -----------------------------------------------------------------

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(COMMON_FLAGS) -D_GNU_SOURCE $(OUR_WARNINGS) $(OUR_HEADERS) \
		-iquote labs/$(word 2,$(subst /, ,$<)) -c $< -o $@

# Demo programs and tests know their lab's header from where they lie.
objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
HARNESS := tests/harness
EXPLORER := $(HARNESS)/explorer
SELFTEST := $(HARNESS)/selftest
C11 := $(HARNESS)/c11
HARNESS_OBJECTS := $(filter-out %/supervise.o %/why.o %/selftest.o,$(foreach \
	part,/ /calls/ /doctor/ /explorer/,$(call objects,$(HARNESS)$(part)*.c)))

$(BUILD)/libcommon.a: $(call objects,common/*.c)
$(BUILD)/libharness.a: $(HARNESS_OBJECTS)
$(BUILD)/%.a:
	@rm -f $@
	@ar rcs $@ $^

# The report of a hang reads the stacks with libdw.
DOCTOR := $(patsubst %.c,build/plain/%.o,$(filter-out %/why.c,$(wildcard $(HARNESS)/doctor/*.c)))
build/plain/supervise: $(addprefix build/plain/$(HARNESS)/,supervise.o \
	tree.o observe.o leftovers.o guard.o own_shm.o) $(DOCTOR) build/plain/libcommon.a
	@$(CC) $(LDFLAGS) $^ -o $@ $(DW) $(LDLIBS)

build/plain/why: build/plain/$(HARNESS)/doctor/why.o $(DOCTOR) \
		build/plain/libcommon.a
	@$(CC) $(LDFLAGS) $^ -o $@ $(DW)

# The harness judges mistakes made on purpose.
SELFTESTS := $(addprefix build/plain/,selftest selftest_faults selftest_hang \
	selftest_explorer)
build/plain/selftest: $(addprefix build/plain/$(SELFTEST)/,selftest.o \
	bad.called.o)
build/plain/selftest_faults: $(addprefix build/plain/$(SELFTEST)/,\
	selftest_faults.o calling.called.o waiting.called.o stuck.called.o)
build/plain/selftest_hang: $(addprefix build/plain/$(SELFTEST)/,\
	selftest_hang.o hang.called.o)
build/plain/selftest_explorer: build/plain/$(EXPLORER)/selftest.explored.o \
	build/plain/$(C11)/c11.explored.o
$(SELFTESTS): build/plain/libharness.a build/plain/libcommon.a
	@$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(TEST_LIBS)

# What a student's file calls read() is called_read() in the tests, and what it
# calls mtx_lock() leads to what pthread_mutex_lock() is.
from_c11 = sed -nE 's/^(int|void) c11_([a-z_]+)\(.*\)$$/\2 c11_\2/p' $(C11)/c11.c
$(BUILD)/calls.map: $(wildcard $(HARNESS)/calls/calls_*.c) $(C11)/c11.c
	@mkdir -p $(@D)
	@{ sed -nE 's/^[a-zA-Z_ ].*[ *]called_([a-z_0-9A-Z]+)\(.*[,;]$$/\1 called_\1/p' $^; \
		$(from_c11); } | sort -u > $@

# Small enough to be left by a jump, so that the line is the caller's.
$(BUILD)/$(C11)/c11.o: COMMON_FLAGS += -O2
$(BUILD)/$(C11)/c11.o: OUR_WARNINGS += -Wno-missing-prototypes
$(BUILD)/$(C11)/c11.explored.o: $(BUILD)/$(C11)/c11.o $(BUILD)/explored.map
	@objcopy --redefine-syms=$(BUILD)/explored.map $< $@

# For the explorer the compiler announces each access to memory, and what the
# file calls read() is explored_read(). A wait that cannot be scheduled is
# undefined, under a name that says so.
$(BUILD)/$(EXPLORER)/%.o: OUR_WARNINGS += -Wno-missing-prototypes
$(BUILD)/explored.map: $(EXPLORER)/unknown $(wildcard $(EXPLORER)/*.c) $(C11)/c11.c
	@mkdir -p $(@D)
	@{ sed -nE 's/^[a-zA-Z_ ].*[ *]explored_([a-z_0-9A-Z]+)\(.*[,{)]$$/\1 explored_\1/p' \
		$(filter %.c,$^); $(from_c11); \
	sed -E '/^#/d; s/.*/& the_explorer_cannot_schedule_&/' $<; } | sort -u > $@

# ---- implementations -----------------------------------------------------------

stems = $(patsubst solutions/$(1)/%.c,%,$(wildcard solutions/$(1)/*.c))
programs = $(patsubst labs/$(1)/demo/%.c,%,$(wildcard labs/$(1)/demo/*.c))
tests = $(sort $(patsubst tests/$(1)/%.c,%,$(wildcard tests/$(1)/test_*.c)))
explorations = $(sort $(patsubst tests/$(1)/%.c,%,$(wildcard tests/$(1)/explore_*.c)))
# pool-unlocked.c replaces pool.c
stem_of = $(firstword $(subst -, ,$(basename $(notdir $(1)))))
# the file for stem $(2) of lab $(1) among the files $(3), or the solution's
source_of = $(firstword $(foreach f,$(3),$(if $(or $(filter $(2),$(call stem_of,$(f))),$(filter 1,$(words $(call stems,$(1))))),$(f))) solutions/$(1)/$(2).c)

# $(1) lab, $(2) name of the implementation, $(3) its files
define implementation
$(foreach s,$(call stems,$(1)),
$(BUILD)/$(1)/$(2)/$(s).o: $(call source_of,$(1),$(s),$(3)) $(if $(filter file-%,$(2)),FORCE)
	@mkdir -p $$(@D)
	@$(CC) $(COMMON_FLAGS) $$(call gnu,$$<) $(STUDENT_WARNINGS) \
		-iquote labs/$(1) -iquote common -c $$< -o $$@
)
$(foreach p,$(call programs,$(1)),
$(BUILD)/$(1)/$(2)/$(p): $(BUILD)/labs/$(1)/demo/$(p).o \
		$(foreach s,$(call stems,$(1)),$(BUILD)/$(1)/$(2)/$(s).o) \
		$(BUILD)/libcommon.a
	@$(CC) $(LDFLAGS) $$^ -o $$@ $(LDLIBS)
)
$(BUILD)/$(1)/$(2)/checks: \
		$(foreach t,$(call tests,$(1)),$(BUILD)/tests/$(1)/$(t).o) \
		$(foreach s,$(call stems,$(1)),$(BUILD)/$(1)/$(2)/$(s).called.o) \
		$(BUILD)/$(C11)/c11.called.o $(BUILD)/libharness.a $(BUILD)/libcommon.a
	@$(CC) $(LDFLAGS) $$^ -o $$@ $$(TEST_LIBS)
$(foreach s,$(call stems,$(1)),
$(BUILD)/$(1)/$(2)/$(s).hooked.o: $(call source_of,$(1),$(s),$(3)) $(if $(filter file-%,$(2)),FORCE)
	@mkdir -p $$(@D)
	@$(CC) $(COMMON_FLAGS) -fsanitize=thread $$(call gnu,$$<) $(STUDENT_WARNINGS) \
		-iquote labs/$(1) -iquote common -c $$< -o $$@
)
$(BUILD)/$(1)/$(2)/explorations: \
		$(foreach t,$(call explorations,$(1)),$(BUILD)/tests/$(1)/$(t).explored.o) \
		$(foreach s,$(call stems,$(1)),$(BUILD)/$(1)/$(2)/$(s).explored.o) \
		$(BUILD)/$(C11)/c11.explored.o $(BUILD)/libharness.a $(BUILD)/libcommon.a
	@$(CC) $(LDFLAGS) $$^ -o $$@ $$(TEST_LIBS)

.PHONY: $(1)/$(2)/programs $(1)/$(2)/checks $(1)/$(2)/explorations
$(1)/$(2)/programs: $(foreach p,$(call programs,$(1)),$(BUILD)/$(1)/$(2)/$(p))
$(1)/$(2)/checks: $(BUILD)/$(1)/$(2)/checks
$(1)/$(2)/explorations: $(if $(call explorations,$(1)),$(BUILD)/$(1)/$(2)/explorations)
endef

# Only what begins with the file's own name, or stands in the lab's headers,
# stays visible to others.
keep = --wildcard --keep-global-symbol='$(*F)_*' \
	$$(grep -shoE '[a-z_0-9]+\(' labs/$(word 3,$(subst /, ,$@))/*.h | \
	sed 's/(//; s/^/--keep-global-symbol=/' | sort -u)

$(BUILD)/%.called.o: $(BUILD)/%.o $(BUILD)/calls.map
	@objcopy --redefine-syms=$(BUILD)/calls.map $(keep) $< $@
$(BUILD)/%.explored.o: $(BUILD)/%.hooked.o $(BUILD)/explored.map
	@objcopy --redefine-syms=$(BUILD)/explored.map $(keep) $< $@

# The tests of the explorer are scheduled like what they test.
$(BUILD)/tests/%.explored.o: $(BUILD)/tests/%.hooked.o $(BUILD)/explored.map
	@objcopy --redefine-syms=$(BUILD)/explored.map $< $@
$(BUILD)/tests/%.hooked.o: COMMON_FLAGS += -fsanitize=thread
$(BUILD)/tests/%.hooked.o: tests/%.c
	@mkdir -p $(@D)
	@$(CC) $(COMMON_FLAGS) -D_GNU_SOURCE $(OUR_WARNINGS) $(OUR_HEADERS) \
		-iquote labs/$(word 2,$(subst /, ,$<)) -c $< -o $@

# FILE= names another file each time, and an older one is not up to date.
.PHONY: FORCE

# Of the many files in wrong/ and right/ only those are known that are asked
# for: wrong-NAME of tests/LAB/wrong/NAME.c
asked := $(sort $(patsubst %/,%,$(dir $(filter %/programs %/checks %/explorations,$(MAKECMDGOALS)))))
case_file = $(patsubst wrong-%,tests/$(1)/wrong/%.c,$(patsubst right-%,tests/$(1)/right/%.c,$(2)))
$(foreach l,$(LABS), \
$(eval $(call implementation,$(l),solution,)) \
$(eval $(call implementation,$(l),student,$(wildcard labs/$(l)/*.c))) \
$(foreach c,$(filter wrong-% right-%,$(patsubst $(l)/%,%,$(filter $(l)/%,$(asked)))), \
$(eval $(call implementation,$(l),$(c),$(call case_file,$(l),$(c))))))
# Two people may judge two files at the same time.
file = file-$(subst /,_,$(FILE))
# FILE= has its stem in its name where a lab has several, and any name else.
ifneq ($(and $(FILE),$(THE_LAB)),)
ifeq ($(wildcard $(FILE)),)
$(error There is no file '$(FILE)')
endif
ifneq ($(words $(call stems,$(THE_LAB))),1)
ifeq ($(filter $(call stem_of,$(FILE)),$(call stems,$(THE_LAB))),)
$(error The name of FILE begins with one of: $(call stems,$(THE_LAB)), so that it is known what it replaces)
endif
endif
$(eval $(call implementation,$(THE_LAB),$(file),$(FILE)))
endif

include tests/bench/bench.mk

# Not those of FILE=, which is built anew each time and may be gone by then.
-include $(wildcard $(addprefix $(BUILD)/,common/*.d tests/*/*.d tests/*/*/*.d \
	labs/*/demo/*.d $(addsuffix /*.d,$(filter-out %/$(file),$(asked)))))

# ---- commands --------------------------------------------------------------------

COMMANDS := tests/commands
export LAB FILE ARGS

.PHONY: status
status:			## where am I: labs, checks passing, the next step
	@$(COMMANDS)/status

.PHONY: help
help:			## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

.PHONY: setup setup-slides
setup:			## install what is missing (Debian, Ubuntu)
	@$(COMMANDS)/setup
setup-slides:		## install what the slides need
	@slides/setup

# A lab's commands want LAB=.
.PHONY: need-lab
need-lab:
	@if [ -z "$(THE_LAB)" ]; then \
		echo "$(if $(LAB),There is no lab '$(LAB)'.,Which lab? Say LAB=...)" \
			"There are: $(LABS)" >&2; exit 2; fi

.PHONY: lab hint race watch run
lab: need-lab		## judge my lab, up to the first thing to understand
	@tests/harness/judge $(THE_LAB) $(if $(FILE),$(file),student)
hint: need-lab		## help with the next step, more of it each time
	@$(COMMANDS)/hint $(THE_LAB)
race: need-lab		## the order of events in which it goes wrong: PICTURE=race.svg
	@$(COMMANDS)/race $(THE_LAB) $(if $(FILE),$(file),student)
watch: need-lab		## judge again on every save
	@$(COMMANDS)/watch $(THE_LAB)

.PHONY: why
why:			## why does it not move? PID=4711 and all below it
	@$(COMMANDS)/why $(PID)

PROGRAM ?= $(firstword $(shell sed -n 's/^\# main: //p' labs/$(THE_LAB)/demo/lesson 2>/dev/null) $(call programs,$(THE_LAB)))
run: need-lab		## run my program: ARGS="--n 2000" PROGRAM=factorials
	@$(MAKE) -s --no-print-directory $(THE_LAB)/student/programs
	@build/plain/$(THE_LAB)/student/$(PROGRAM) $(ARGS)

.PHONY: programs
programs: $(foreach l,$(LABS),$(l)/solution/programs)

.PHONY: demo
demo:			## every finished program on its lesson's input
	@$(MAKE) -s --no-print-directory VARIANT=fast programs
	@VARIANT=fast $(COMMANDS)/demo

TEXTS := README.md tests/README.md $(wildcard labs/*/README.md) $(wildcard slides/[0-9]*.md)

# The parts of check can be run one by one.
.PHONY: check check-harness check-skeletons check-texts check-slides
.PHONY: check-labs flake
check:			## the instructor's: everything must hold; FULL=1, as CI
	@$(COMMANDS)/check
check-harness: build/plain/supervise build/plain/why $(SELFTESTS)
	@bats $(SELFTEST)/*.bats $(EXPLORER)/*.bats
check-skeletons:
	@$(COMMANDS)/skeletons --check
check-texts: programs
	@PATH="$$(printf '$(CURDIR)/build/plain/%s/solution:' $(LABS))$$PATH" \
		$(COMMANDS)/texts.py --check --run $(wildcard $(TEXTS))
check-slides:
	@slides/build --check
check-labs:
	@tests/harness/matrix $(THE_LAB)
flake:			## judge all again and again on busy cores: RUNS=20
	@$(COMMANDS)/flake $(THE_LAB)

.PHONY: skeletons texts
skeletons:		## make labs/*/*.c from the solutions
	@$(COMMANDS)/skeletons $(if $(FORCE),--force)
texts:			## fill the code blocks of the texts from the sources
	@$(COMMANDS)/texts.py $(wildcard $(TEXTS))

.PHONY: bench plots
LABS_MEANT = $(if $(LAB),$(THE_LAB),$(LABS))
bench: $(if $(LAB),need-lab)	## measure: all labs, or LAB=02; ROUNDS=7
	@$(MAKE) -s --no-print-directory VARIANT=fast $(LABS_MEANT:%=%/bench)
	@for lab in $(LABS_MEANT); do tests/bench/bench.py $$lab || exit; done
plots: $(if $(LAB),need-lab)	## draw again what bench measured
	@tests/bench/plot.py $(if $(LAB),build/bench/$(THE_LAB).csv)

.PHONY: slides lint coverage clean
slides:			## HTML and PDF of all decks
	@slides/build
lint:			## what gcc, cppcheck and shellcheck have to say
	@$(COMMANDS)/lint
coverage:		## how much of the solutions the checks run
	@$(COMMANDS)/coverage
clean:			## remove everything built
	@rm -rf build
