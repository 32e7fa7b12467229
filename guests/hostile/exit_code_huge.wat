;; expect: exit:255 exit:1 trap malformed
;; Ends with a code that no system has.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $exit (i32.const 0x7fffffff))))
