;; expect: malformed
;; Imports a function that WASI never had.
(module
  (import "wasi_snapshot_preview1" "fd_steal" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")))
