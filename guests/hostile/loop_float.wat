;; expect: limit-fuel
;; Never ends, in floating point, where metering costs most.
(module
  (memory (export "memory") 1)
  (global $x (mut f64) (f64.const 1.1))
  (func (export "_start")
    (loop $again
      (global.set $x (f64.sqrt (f64.add (global.get $x) (f64.const 0.1))))
      (br $again))))
