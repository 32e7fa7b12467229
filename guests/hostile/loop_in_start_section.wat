;; expect: limit-fuel
;; Never gets as far as its entry point.
(module
  (memory (export "memory") 1)
  (func $early (loop $again (br $again)))
  (start $early)
  (func (export "_start")))
