;; expect: trap
;; Traps before its entry point.
(module
  (memory (export "memory") 1)
  (func $early unreachable)
  (start $early)
  (func (export "_start")))
