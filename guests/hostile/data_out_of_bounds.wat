;; expect: trap malformed
;; Initial data lies outside of the memory.
(module
  (memory (export "memory") 1)
  (data (i32.const 65530) "past the end")
  (func (export "_start")))
