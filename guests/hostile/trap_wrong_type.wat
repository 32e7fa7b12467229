;; expect: trap
;; Calls a function as what it is not.
(module
  (memory (export "memory") 1)
  (type $t (func))
  (type $u (func (param i64)))
  (table funcref (elem $f))
  (func $f (type $u))
  (func (export "_start") (call_indirect (type $t) (i32.const 0))))
