# Injected by CMake right after llama.cpp's own project() call (CMAKE_PROJECT_<name>_INCLUDE): the Python bindings load
# libllama and ggml alone, and the "common" library that the package's CMakeLists.txt forces on is most of the compile time.
set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)

# A wheel has no symbolic links: of a library with a version it would hold three copies, and in two folders.
set(CMAKE_PLATFORM_NO_VERSIONED_SONAME ON)
set(CMAKE_INSTALL_BINDIR llama_cpp/lib CACHE PATH "" FORCE)
set(CMAKE_INSTALL_LIBDIR llama_cpp/lib CACHE PATH "" FORCE)
set(CMAKE_INSTALL_INCLUDEDIR llama_cpp/include CACHE PATH "" FORCE)

# One build for every x86-64-v2 machine: ggml's CPU code is compiled once for each level, and functions/summarize/cpu.py
# loads the best that a machine can run. On another architecture it is compiled for the least level of that.
if(FACTORY_PORTABLE)
  set(GGML_NATIVE OFF CACHE BOOL "" FORCE)
endif()
if(FACTORY_PORTABLE AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(GGML_BACKEND_DL ON CACHE BOOL "" FORCE)
  set(GGML_CPU_ALL_VARIANTS ON CACHE BOOL "" FORCE)
  set(CMAKE_INSTALL_RPATH "$ORIGIN")

  # Of ggml's 14 levels those that make a difference to Q4_K_M weights: x86-64-v2, AVX2, AVX-512, with VNNI, with AMX.
  set(FACTORY_LEVELS sse42 haswell skylakex cascadelake sapphirerapids)

  # ggml has no option for the choice, so its function that adds a level is wrapped: as soon as it is defined, which it
  # is when ggml/src adds the folder ggml-cpu. (CMake keeps what a new definition replaces, under a name with "_".)
  function(factory_choose_levels)
    function(ggml_add_cpu_backend_variant level)
      if(level IN_LIST FACTORY_LEVELS)
        _ggml_add_cpu_backend_variant(${level} ${ARGN})
      endif()
      # Without it GCC 12 compiles the AVX2 kernels so that a prefill takes 8 % longer than with a native build. It
      # changes no more than the choice and order among instructions that the level has.
      if(level STREQUAL "haswell")
        target_compile_options(ggml-cpu-haswell PRIVATE -mtune=haswell)
      endif()
    endfunction()
  endfunction()
  macro(add_subdirectory folder)
    _add_subdirectory(${folder} ${ARGN})
    if("${folder}" STREQUAL "ggml-cpu")
      factory_choose_levels()
    endif()
  endmacro()
endif()
