# What `make bench` runs beside the finished programs, with VARIANT=fast: each
# tests/LAB/bench_*.c is a program of its own, linked with the lab's solution,
# with tests/LAB/bench.c where there is one, and with OpenMP where it is named so.

%_openmp.o: COMMON_FLAGS += -fopenmp
%_openmp: LDFLAGS += -fopenmp

# $(1) lab
define bench
BENCH_$(1) := $(patsubst tests/$(1)/%.c,$(BUILD)/$(1)/bench/%,\
	$(wildcard tests/$(1)/bench_*.c))
$$(BENCH_$(1)): $(BUILD)/$(1)/bench/%: $(BUILD)/tests/$(1)/%.o \
		$(call objects,tests/$(1)/bench.c) \
		$(addprefix $(BUILD)/tests/bench/,measure.o crowd.o) \
		$(foreach s,$(call stems,$(1)),$(BUILD)/$(1)/solution/$(s).o) \
		$(BUILD)/libcommon.a
	@mkdir -p $$(@D)
	@$$(CC) $$(LDFLAGS) $$^ -o $$@ $$(LDLIBS)

.PHONY: $(1)/bench
$(1)/bench: $(1)/solution/programs $$(BENCH_$(1)) $(BUILD)/free_cores
endef

$(foreach l,$(LABS),$(eval $(call bench,$(l))))

$(BUILD)/free_cores: $(call objects,tests/bench/*.c) $(BUILD)/libcommon.a
	@$(CC) $(LDFLAGS) $^ -o $@ $(LDLIBS)
