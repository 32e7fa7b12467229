;; expect: indeterminate
;; The same through a table.
(module
  (memory (export "memory") 1)
  (type $t (func))
  (table funcref (elem $f))
  (func $f (type $t) (call_indirect (type $t) (i32.const 0)))
  (func (export "_start") (call $f)))
