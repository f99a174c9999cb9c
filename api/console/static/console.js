var g,Dt,et,J,Ye,Re,Ut,Ne,jt,tt,Ze,Rn,de=Symbol.for("pv"),Ae={},Ie=[],An=/^m(i|n|o|s|text|space)$/,ot=Array.isArray,Oe=Ie.slice,W=Object.assign;function Y(e){e&&e.parentNode&&e.remove()}function Me(e,t,o){var n,i,r,s={},a=arguments.length;for(r in t)r=="key"?n=t[r]:r=="ref"&&typeof e!="function"?i=t[r]:s[r]=t[r];return a>2&&(s.children=a>3?Oe.call(arguments,2):o),ne(e,s,n,i,null)}function qt(e,t,o){var n,i,r,s=W({},e.props),a=arguments.length;for(r in t)r=="key"?n=t[r]:r=="ref"&&typeof e.type!="function"?i=t[r]:s[r]=t[r];return a>2&&(s.children=a>3?Oe.call(arguments,2):o),ne(e.type,s,n!==void 0?n:e.key,i!==void 0?i:e.ref,null)}function ne(e,t,o,n,i){var r={type:e,props:t,key:o,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:de,__v:i||++Dt,__i:-1,__u:0};return!i&&g.vnode&&g.vnode(r),r}function Z(e){return e.children}function re(e,t){this.props=e,this.context=t,this.__g=0}function G(e,t){if(t==null)return e.__&&G(e.__,e.__i+1);for(var o;t<e.__k.length;t++)if((o=e.__k[t])&&o.__e)return o.__e;return typeof e.type!="function"||e.props.__P?null:G(e)}function In(e){var t,o=e.__v,n=o.__e,i=[],r=[],s=e.__P;s&&((t=W({constructor:de},o)).__v=o.__v+1,g.vnode&&g.vnode(t),nt(s,t,o,e.__n,s.namespaceURI,32&o.__u?[n]:null,i,n||G(o),32&o.__u,r),t.__v=o.__v,t.__.__k[t.__i]=t,Bt(i,t,r),o.__=o.__e=null,t.__e!=n&&Ht(t))}function Ht(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){return t&&(e.__e=t.__e)}),Ht(e)}function Mt(e){(8&e.__g||(e.__g|=8,J.push(e),Re++))&&Ye==g.debounceRendering||((Ye=g.debounceRendering)||queueMicrotask)(Vt)}function Vt(){try{for(var e,t=1;J.length;)J.length>t&&J.sort(Ut),e=J.shift(),t=J.length,8&e.__g&&In(e)}finally{(Re=J.length)&&(Ye||queueMicrotask)(Vt)}}function Jt(e,t,o,n,i,r,s,a,c,p,f){var h,d,u,m,v,$,w=n.__k||Ie,_=t.length;for(c=On(o,t,w,c,_),h=0;h<_;h++)(u=o.__k[h])!=null&&(d=~u.__i&&w[u.__i]||Ae,u.__i=h,$=nt(e,u,d,i,r,s,a,c,p,f),m=u.__e,(d.ref!=u.ref||8&d.__u)&&(d.ref&&rt(d.ref,null,u,d),u.ref&&f.push(u.ref,u.__c||m,u)),v=v||m,4&u.__u?(c=Wt(u,c,e,!d.__v),d.__e&&(d.__e=null)):typeof u.type=="function"&&$!==void 0?c=$:m&&(c=m.nextSibling),u.__u&=-21);return o.__e=v,c}function On(e,t,o,n,i){var r,s,a,c,p,f,h,d,u,m=o.length,v=m,$=0,w=0,_=e.__k=Array(i);for(r=0;r<i;r++)(s=t[r])!=null&&typeof s!="boolean"&&typeof s!="function"?(typeof s!="object"||s.constructor===String?s=_[r]=ne(null,s):ot(s)?s=_[r]=ne(Z,{children:s}):s.constructor===de&&s.__b?s=_[r]=ne(s.type,s.props,s.key,s.ref,s.__v):_[r]=s,c=r+$,s.__=e,s.__b=e.__b+1,a=null,~(p=s.__i=Mn(s,o,c,v))&&(v--,(a=o[p])&&(a.__u|=2)),a&&a.__v?(s.__u|=16,p==c-1?$--:p==c+1?$++:p!=c&&(p>c?$--:$++,w=1)):(~p||(i>m?$--:i<m&&$++),typeof s.type!="function"&&(s.__u|=4))):_[r]=null;if(w){for(f=[],h=[],r=0;r<i;r++)if((s=_[r])&&16&s.__u){for($=0,d=f.length;$<d;)f[u=$+d>>1]<s.__i?$=u+1:d=u;f[$]=s.__i,h[r]=$+1}for($=f.length;r--;)h[r]&&(h[r]==$?$--:_[r].__u|=4)}if(v)for(r=0;r<m;r++)!(a=o[r])||2&a.__u||(a.__e==n&&(n=G(a)),it(a,a));return n}function Wt(e,t,o,n){var i,r,s,a;if(typeof e.type=="function"){if(e.props.__P)return t;if(i=e.__k)for(r=0;r<i.length;r++)i[r]&&(i[r].__=e,t=Wt(i[r],t,o,!1));return t}for(t&&!t.parentNode&&(t=G(e))&&!t.parentNode&&(t=null),s=e.__e,a=t;a&&a.nodeType==8;)a=a.nextSibling;for(s!=a&&(!n&&o.moveBefore&&s.parentNode?o.moveBefore(s,t):o.insertBefore(s,t||null)),t=s;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function Mn(e,t,o,n){var i,r=e.key,s=e.type,a=t[o],c=a&&!(2&a.__u);if(a===null&&r==null||c&&r==a.key&&s==a.type)return o;if(n>(c?1:0)){for(i=o-1;i>=0;i--)if((a=t[i])&&!(2&a.__u)&&r==a.key&&s==a.type)return i;for(i=o+1;i<t.length;i++)if((a=t[i])&&!(2&a.__u)&&r==a.key&&s==a.type)return i}return-1}function Ft(e,t,o){o==null&&(o=""),t[0]=="-"?e.setProperty(t,o):e[t]=o}function Pe(e,t,o,n,i){var r,s;if(t=="style")if(typeof o=="string")e.style.cssText=o;else{if(typeof n=="string"&&(e.style.cssText=n=""),n)for(t in n)o&&t in o||Ft(e.style,t);if(o)for(t in o)n&&o[t]==n[t]||Ft(e.style,t,o[t])}else if(t[0]=="o"&&t[1]=="n")typeof o!="function"&&(o=null),typeof n!="function"&&(n=null),(e.__e||(e.__e={}))[t]=o,o&&n||(s=Ze[t]||(Ze[t]=Fn(t)),(e.__a||(e.__a={}))[t]=tt,r=t!=(t=t.replace(jt,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),o?e.addEventListener(t,s,r):e.removeEventListener(t,s,r));else{if(i=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="colSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=o??"")}catch{}if(typeof o=="function")return;o==null||o===!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&o==1?"":o)}}function Fn(e){return function(t){var o=this.__e;if(o){if(o=o[e],t[Ne]==null)t[Ne]=tt++;else if(t[Ne]<this.__a[e])return;return o(g.event?g.event(t):t)}}}function nt(e,t,o,n,i,r,s,a,c,p){var f,h,d,u,m,v,$,w,_,R,S,Xe,It,Te,Q,Ot,V,X,U=t.type;if(t.constructor!==de)return null;128&o.__u&&(c=32&o.__u,f=o.__c.__z)&&(t.__u|=c,h=r=[],f.nodeType==8?a=Le(f,r):r.push(f),a=r[0]||a),(f=g.__b)&&f(t);e:if(typeof U=="function"){d=s.length;try{if(w=t.props,_=(f=U.prototype)&&f.render,R=(f=U.contextType)&&n[f.__c],S=f?R?R.props.value:f.__:n,(u=o.__c)?(t.__c=u,2&u.__g&&(u.__g|=1)):(_?t.__c=u=new U(w,S):(t.__c=u=new re(w,S),u.constructor=U,u.render=Un),R&&R.sub(u),u.state||(u.state={}),u.__n=n,u.__g|=8,u.__h=[],u.__k=[]),_&&(u.__s||(u.__s=u.state),U.getDerivedStateFromProps&&(u.__s==u.state&&(u.__s=W({},u.__s)),W(u.__s,U.getDerivedStateFromProps(w,u.__s)))),m=u.props,v=u.state,u.__v=t,o.__c){if(w!==m&&_&&!U.getDerivedStateFromProps&&u.componentWillReceiveProps&&u.componentWillReceiveProps(w,S),t.__v==o.__v&&!(8&u.__g)||!(4&u.__g)&&u.shouldComponentUpdate&&u.shouldComponentUpdate(w,u.__s,S)===!1){t.__v!=o.__v&&(u.props=w,u.state=u.__s,u.__g&=-9),t.__e=o.__e,t.__k=o.__k,t.__k.some(function(F){F&&(F.__=t)}),Ie.push.apply(u.__h,u.__k),u.__k=[],u.__h.length&&s.push(u),a=G(o);break e}u.componentWillUpdate&&u.componentWillUpdate(w,u.__s,S),_&&u.componentDidUpdate&&u.__h.push(function(){u.componentDidUpdate(m,v,$)})}else _&&!U.getDerivedStateFromProps&&u.componentWillMount&&u.componentWillMount(),_&&u.componentDidMount&&u.__h.push(u.componentDidMount);u.context=S,u.props=w,u.__P=e,u.__g&=-5,Xe=g.__r,It=_?25:0;do u.__g&=-9,Xe&&Xe(t),f=u.render(u.props,u.state=u.__s,u.context);while(8&u.__g&&++It<25);_&&(Ie.push.apply(u.__h,u.__k),u.__k=[]),u.state=u.__s,u.getChildContext&&(n=W({},n,u.getChildContext())),_&&o.__c&&u.getSnapshotBeforeUpdate&&($=u.getSnapshotBeforeUpdate(m,v)),Te=f&&f.type===Z&&f.key==null?f.props.children:f,w.__P&&(f=a,i=(e=w.__P).namespaceURI,c=r=null,o.props&&o.props.__P!=e&&(o.__k.some(function(F){F&&it(F,F)}),o.__k=null),a=o.__k?G(o,0):null),a=Jt(e,ot(Te)?Te:[Te],t,o,n,i,r,s,a,c,p),w.__P&&(t.__e=null,a=f),t.__u&=-161,h&&h.some(Y),u.__h.length&&s.push(u),1&u.__g&&(u.__g&=-4)}catch(F){if(s.length=d,t.__v=null,c||r)if(F&&F.then){if(t.__u|=128|c,r){for(~(V=r.indexOf(a||void 0))||(V=r.length);(X=r[V-1])&&X.nodeType==8;)V--;for(;V<r.length;V++)if(X=r[V])if(r[V]=null,Q){if(X==Ot)break}else{if(X.nodeType!=8)break;X.data.startsWith("$s")&&(Ot=Le(Q=X))}}if(!Q){for(;a&&a.nodeType==8&&a.nextSibling;)a=a.nextSibling;Q=a}(f=Le(Q=t.__c.__z||(t.__c.__z=Q)))?(t.__e=Q,a=f):t.__e=a,a=a&&a.nextSibling}else r&&r.some(Y);else t.__e=o.__e;t.__k||(t.__k=o.__k||[]),F&&F.then||Gt(t),g.__e(F,t,o)}}else a=t.__e=Dn(o.__e,t,o,n,i,r,s,c,p,e);return(f=g.diffed)&&f(t),a}function Le(e,t){if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var o=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))o++;else if(e.data.startsWith("/$s")&&!--o)return e}t&&t.push(e)}}function Gt(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.some(Gt))}function Bt(e,t,o){for(var n=0;n<o.length;)rt(o[n++],o[n++],o[n++]);g.__c&&g.__c(t,e),e.some(function(i){try{e=i.__h,i.__h=[],e.some(function(r){r.call(i)})}catch(r){g.__e(r,i.__v)}})}function Dn(e,t,o,n,i,r,s,a,c,p){var f,h,d,u,m,v,$,w,_=o.props||Ae,R=t.props,S=t.type;if(S=="svg"?i="http://www.w3.org/2000/svg":S=="math"?i="http://www.w3.org/1998/Math/MathML":i||(i="http://www.w3.org/1999/xhtml"),r){for(f=0;f<r.length;f++)if((m=r[f])&&(S?m.localName==S:m.nodeType==3)){e=m,r[f]=null;break}}if(!e){if(w=p.ownerDocument||document,!S)return w.createTextNode(R);e=w.createElementNS(i,S,R.is?R:p),a&&(g.__m&&g.__m(t,r),a=!1),r=null}if(S){if(p=S=="template"&&e.content||e,r=S=="textarea"&&R.defaultValue!=null?null:r&&Oe.call(p.childNodes),!a&&r)for(_={},f=0;f<e.attributes.length;f++)_[(m=e.attributes[f]).name]=m.value;for(f in _)m=_[f],f=="dangerouslySetInnerHTML"?d=m:f=="children"||f in R||f=="value"&&"defaultValue"in R||f=="checked"&&"defaultChecked"in R||Pe(e,f,null,m,i);for(f in R)m=R[f],f=="children"?u=m:f=="dangerouslySetInnerHTML"?h=m:f=="value"?v=m:f=="checked"?$=m:a&&typeof m!="function"||_[f]===m||Pe(e,f,m,_[f],i);h?(a||d&&(h.__html==d.__html||h.__html==e.innerHTML)||(e.innerHTML=h.__html),t.__k=[]):(d&&(e.textContent=""),(S=="foreignObject"||i=="http://www.w3.org/1998/Math/MathML"&&An.test(S))&&(i="http://www.w3.org/1999/xhtml"),Jt(p,ot(u)?u:[u],t,o,n,i,r,s,r?r[0]:o.__k&&G(o,0),a,c),r&&r.some(Y)),a&&S!="textarea"||(f="value",S=="progress"&&v==null?e.removeAttribute(f):v==null||v===e[f]&&(S!="progress"||v)||Pe(e,f,v,_[f],i),f="checked",$!=null&&$!=e[f]&&Pe(e,f,$,_[f],i))}else _===R||a&&e.data==R||(e.data=R);return e}function rt(e,t,o,n){try{typeof e=="function"?t?t.__x=e(t)||1:n&&(n=n.__c||n.__e)&&(t=n.__x)&&(n.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(i){g.__e(i,o)}}function it(e,t,o){var n,i,r,s;if(g.unmount&&g.unmount(e),!(n=e.ref)||n.current&&n.current!=e.__e||rt(n,null,t,e),n=e.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(a){g.__e(a,t)}n.__P=n.__n=null}if(n=e.__k)for(s=0;s<n.length;s++)n[s]&&it(n[s],t,typeof e.type!="function"||o&&!e.props.__P);!o&&(n=e.__c)&&(n=n.__z)&&(i=Le(n,r=[]))&&(n==e.__e&&r.some(Y),Y(i),Y(n)),o||Y(e.__e),e.__e=e.__c=e.__=null}function Un(e,t,o){return this.constructor(e,o)}function Kt(e,t){var o,n,i,r;g.__&&g.__(e,t),t.nodeType==9&&(t=t.documentElement),n=(o=e&&32&e.__u)?null:t.__k,t.__k=ne(Z,{children:[e]}),i=[],r=[],nt(t,t.__k,n||Ae,Ae,t.namespaceURI,n?null:t.firstChild?Oe.call(t.childNodes):null,i,n?n.__e:t.firstChild,o,r),Bt(i,t.__k,r),t.__k.props.children=null}g={__e:function(e,t,o,n){for(var i,r,s;t=t.__;)if((i=t.__c)&&!(1&i.__g)){i.__g|=4;try{if((s=(r=i.constructor)&&r.getDerivedStateFromError)&&i.setState(r.getDerivedStateFromError(e)),i.componentDidCatch&&(i.componentDidCatch(e,n||{}),s=1),s&&8&i.__g)return void(i.__g|=2)}catch(a){e=a}}throw Re=0,e}},Dt=0,et=function(e){return e!=null&&e.constructor===de},re.prototype.setState=function(e,t){var o=this.__s;o&&o!=this.state||(o=this.__s=W({},this.state)),typeof e=="function"&&(e=e(W({},o),this.props)),e&&(W(o,e),this.__v&&(t&&this.__k.push(t),Mt(this)))},re.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(e),Mt(this))},re.prototype.render=Z,J=[],Re=0,Ut=function(e,t){return e.__v.__b-t.__v.__b},Ne=Symbol(),jt=/(PointerCapture)$|Capture$/i,tt=0,Ze={},Rn=0;var ie,T,st,zt,at=Object.is,_e=0,ro=[],lt=[],E=g,Qt=E.__b,Xt=E.__r,Yt=E.diffed,Zt=E.__c,eo=E.unmount,to=E.__;function Fe(e,t){E.__h&&E.__h(T,e,_e||t),_e=0;var o=T.__H||(T.__H={__:[],__h:[]});return e>=o.__.length&&o.__.push({}),o.__[e]}function C(e){return _e=1,jn(ao,e)}function jn(e,t,o){var n=Fe(ie++,2);if(n.t=e,!n.__c&&(n.__=[o?o(t):ao(void 0,t),function(r){var s=(n.__N||n.__)[0],a=n.t(s,r);at(s,a)||(n.__N=[a,n.__[1]],n.__c.setState({}))}],n.__c=T,!T.__f)){T.__f=!0;var i=T.shouldComponentUpdate;T.shouldComponentUpdate=function(r,s,a){var c=this.__H;if(!c)return!0;var p=!1,f=this.props!=r;if(c.__.some(function(d){d.__N&&(p=!0,at(d.__[0],d.__N[0])||(f=!0))}),i){var h=i.call(this,r,s,a);return p?h||f:h}return!p||f}}return n.__}function y(e,t){var o=Fe(ie++,3);!E.__s&&so(o.__H,t)&&(o.__P=!0,o.__=e,o.u=t,T.__H.__h.push(o))}function M(e){return _e=5,he(function(){return{current:e}},[])}function he(e,t){var o=Fe(ie++,7);return so(o.__H,t)&&(o.__=e(),o.__H=t),o.__}function io(e,t){return _e=8,he(function(){return e},t)}function B(){var e=Fe(ie++,11);if(!e.__){for(var t=T.__v;!t.__m&&t.__;)t=t.__;var o=t.__m||(t.__m=[0,0]);e.__="P"+o[0]+"-"+o[1]++}return e.__}function qn(){var e;do{for(;e=lt.shift();)try{me(e)}catch(o){E.__e(o,{__:(e=e.__P)&&e.__v})}for(;e=ro.shift();){var t=e.__H;if(e.__P&&t)try{t.__h.some(me),t.__h.some(ut),t.__h=[]}catch(o){t.__h=[],E.__e(o,e.__v)}}}while(lt.length)}E.__b=function(e){T=null,Qt&&Qt(e)},E.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),to&&to(e,t)},E.__r=function(e){Xt&&Xt(e),ie=0;var t=(T=e.__c).__H;t&&(st==T?T.__h=[]:(t.__h.some(me),t.__h.some(ut),ie=0),t.__h=[],t.__.some(function(o){o.__N&&(o.__=o.__N),o.u=o.__N=void 0})),st=T},E.diffed=function(e){Yt&&Yt(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&no(ro.push(t)),t.__H.__.some(function(o){o.u&&(o.__H=o.u)})),st=T=null},E.__c=function(e,t){t.some(function(o){try{o.__h.some(me),o.__h=o.__h.filter(function(n){return!n.__||ut(n)})}catch(n){o.__h=[function(){throw n}]}}),Zt&&Zt(e,t)},E.unmount=function(e){eo&&eo(e);var t,o,n=e.__c;n&&n.__H&&(n.__H.__.some(function(i){try{if(i.__P&&i.__c){if(o===void 0){for(o=e.__;o&&(!o.__c||!o.__c.__P);)o=o.__;o=o&&o.__c}i.__P=o,no(lt.push(i))}else me(i)}catch(r){t=r}}),n.__H=void 0,t&&E.__e(t,n.__v))};var oo=typeof requestAnimationFrame=="function";function Hn(e){var t,o=function(){clearTimeout(n),oo&&cancelAnimationFrame(t),setTimeout(e)},n=setTimeout(o,35);oo&&(t=requestAnimationFrame(o))}function no(e){e!=1&&zt==E.requestAnimationFrame||((zt=E.requestAnimationFrame)||Hn)(qn)}function me(e){var t=T,o=e.__c;typeof o=="function"&&(e.__c=void 0,o()),T=t}function ut(e){var t=T;e.__c=e.__(),T=t}function so(e,t){return!e||e.length!=t.length||t.some(function(o,n){return!at(o,e[n])})}function ao(e,t){return typeof t=="function"?t(e):t}var Vn=Symbol.for("preact-signals");function qe(){if(j>1)j--;else{var e,t=!1;for((function(){var i=Ue;for(Ue=void 0;i!==void 0;){var r=i.S;if(r.v===i.v)for(var s=r.t;s!==void 0;s=s.x)s.i===i.i&&(s.i=r.i);i=i.o}})();$e!==void 0;){var o=$e;for($e=void 0,De++;o!==void 0;){var n=o.u;if(o.u=void 0,o.f&=-3,!(8&o.f)&&uo(o))try{o.c()}catch(i){t||(e=i,t=!0)}o=n}}if(De=0,j--,t)throw e}}function ft(e){if(j>0)return e();ct=++Jn,j++;try{return e()}finally{qe()}}var ve,x=void 0;function ge(e){var t=x,o=ve;x=void 0,ve=void 0;try{return e()}finally{x=t,ve=o}}var $e=void 0,j=0,De=0,Jn=0,ct=0,Ue=void 0,je=0;function lo(e){if(x!==void 0){var t=e.n;if(t===void 0||t.t!==x)return t={i:0,S:e,p:x.s,n:void 0,t:x,e:void 0,x:void 0,r:t},x.s!==void 0&&(x.s.n=t),x.s=t,e.n=t,32&x.f&&e.S(t),t;if(t.i===-1)return t.i=0,t.n!==void 0&&(t.n.p=t.p,t.p!==void 0&&(t.p.n=t.n),t.p=x.s,t.n=void 0,x.s.n=t,x.s=t),t}}function P(e,t){this.v=e,this.i=0,this.n=void 0,this.t=void 0,this.l=0,this.W=t?.watched,this.Z=t?.unwatched,this.name=t?.name}P.prototype.brand=Vn;P.prototype.h=function(){return!0};P.prototype.S=function(e){var t=this,o=this.t;o!==e&&e.e===void 0&&(e.x=o,this.t=e,o!==void 0?o.e=e:ge(function(){var n;(n=t.W)==null||n.call(t)}))};P.prototype.U=function(e){var t=this;if(this.t!==void 0){var o=e.e,n=e.x;o!==void 0&&(o.x=n,e.e=void 0),n!==void 0&&(n.e=o,e.x=void 0),e===this.t&&(this.t=n,n===void 0&&ge(function(){var i;(i=t.Z)==null||i.call(t)}))}};P.prototype.subscribe=function(e){var t=this;return te(function(){var o=t.value;ge(function(){return e(o)})},{name:"sub"})};P.prototype.valueOf=function(){return this.value};P.prototype.toString=function(){return this.value+""};P.prototype.toJSON=function(){return this.value};P.prototype.peek=function(){var e=this;return ge(function(){return e.value})};Object.defineProperty(P.prototype,"value",{get:function(){var e=lo(this);return e!==void 0&&(e.i=this.i),this.v},set:function(e){if(e!==this.v){if(De>100)throw new Error("Cycle detected");(function(o){j!==0&&De===0&&o.l!==ct&&(o.l=ct,Ue={S:o,v:o.v,i:o.i,o:Ue})})(this),this.v=e,this.i++,je++,j++;try{for(var t=this.t;t!==void 0;t=t.x)t.t.N()}finally{qe()}}}});function b(e,t){return new P(e,t)}function uo(e){for(var t=e.s;t!==void 0;t=t.n)if(t.S.i!==t.i||!t.S.h()||t.S.i!==t.i)return!0;return!1}function co(e){for(var t=e.s;t!==void 0;t=t.n){var o=t.S.n;if(o!==void 0&&(t.r=o),t.S.n=t,t.i=-1,t.n===void 0){e.s=t;break}}}function fo(e){for(var t=e.s,o=void 0;t!==void 0;){var n=t.p;t.i===-1?(t.S.U(t),n!==void 0&&(n.n=t.n),t.n!==void 0&&(t.n.p=n)):o=t,t.S.n=t.r,t.r!==void 0&&(t.r=void 0),t=n}e.s=o}function ee(e,t){P.call(this,void 0,t),this.x=e,this.s=void 0,this.g=je-1,this.f=4}ee.prototype=new P;ee.prototype.h=function(){if(this.f&=-3,1&this.f)return!1;if((36&this.f)==32||(this.f&=-5,this.g===je))return!0;if(this.g=je,this.f|=1,this.i>0&&!uo(this))return this.f&=-2,!0;var e=x;try{co(this),x=this;var t=this.x();(16&this.f||this.v!==t||this.i===0)&&(this.v=t,this.f&=-17,this.i++)}catch(o){this.v=o,this.f|=16,this.i++}return x=e,fo(this),this.f&=-2,!0};ee.prototype.S=function(e){if(this.t===void 0){this.f|=36;for(var t=this.s;t!==void 0;t=t.n)t.S.S(t)}P.prototype.S.call(this,e)};ee.prototype.U=function(e){if(this.t!==void 0&&(P.prototype.U.call(this,e),this.t===void 0)){this.f&=-33;for(var t=this.s;t!==void 0;t=t.n)t.S.U(t)}};ee.prototype.N=function(){if(!(2&this.f)){this.f|=6;for(var e=this.t;e!==void 0;e=e.x)e.t.N()}};Object.defineProperty(ee.prototype,"value",{get:function(){if(1&this.f)throw new Error("Cycle detected");var e=lo(this);if(this.h(),e!==void 0&&(e.i=this.i),16&this.f)throw this.v;return this.v}});function He(e,t){return new ee(e,t)}function po(e){var t=e.j;if(e.j=void 0,typeof t=="function"){j++;var o=x;x=void 0;try{t()}catch(n){throw e.f&=-2,e.f|=8,pt(e),n}finally{x=o,qe()}}}function pt(e){for(var t=e.s;t!==void 0;t=t.n)t.S.U(t);e.x=void 0,e.s=void 0,po(e)}function Wn(e){if(x!==this)throw new Error("Out-of-order effect");fo(this),x=e,this.f&=-2;try{8&this.f&&pt(this)}finally{qe()}}function se(e,t){this.x=e,this.j=void 0,this.s=void 0,this.u=void 0,this.f=32,this.name=t?.name,ve&&ve.push(this)}se.prototype.c=function(){var e=this.S();try{if(8&this.f||this.x===void 0)return;var t=this.x();typeof t=="function"&&(this.j=t)}finally{e()}};se.prototype.S=function(){if(1&this.f)throw new Error("Cycle detected");this.f|=1,this.f&=-9,po(this),co(this),j++;var e=x;return x=this,Wn.bind(this,e)};se.prototype.N=function(){2&this.f||(this.f|=2,this.u=$e,$e=this)};se.prototype.d=function(){this.f|=8,1&this.f||pt(this)};se.prototype.dispose=function(){this.d()};function te(e,t){var o=new se(e,t);try{o.c()}catch(i){throw o.d(),i}var n=o.d.bind(o);return n[Symbol.dispose]=n,n}var mo,Je,Ve,Gn=typeof window<"u"&&!!window.__PREACT_SIGNALS_DEVTOOLS__;var _o=[];te(function(){mo=this.N})();function ae(e,t){g[e]=t.bind(null,g[e]||function(){})}function ye(e){if(Ve){var t=Ve;Ve=void 0,t()}Ve=e&&e.S()}function ho(e){var t=this,o=e.data,n=Kn(o);n.name="ReactiveDom",n.value=o;var i=he(function(){for(var a=t,c=t.__v;c=c.__;)if(c.__c){c.__c.__$f|=4;break}var p=He(function(){var u=n.value.value;return u===0?0:u===!0?"":u||""}),f=He(function(){return!Array.isArray(p.value)&&!et(p.value)}),h=te(function(){if(this.N=vo,f.value){var u=p.value;a.__v&&a.__v.__e&&a.__v.__e.nodeType===3&&(a.__v.__e.data=u)}}),d=t.__$u.d;return t.__$u.d=function(){h(),d.call(this)},[f,p]},[]),r=i[0],s=i[1];return r.value?s.peek():s.value}ho.displayName="ReactiveTextNode";Object.defineProperties(P.prototype,{constructor:{configurable:!0,value:Me(Z,null).constructor},type:{configurable:!0,value:ho},props:{configurable:!0,get:function(){var e=this;return{data:{get value(){return e.value}}}}},__b:{configurable:!0,value:1}});ae("__b",function(e,t){if(ye(),Je=void 0,typeof t.type=="string"){var o,n=t.props;for(var i in n)if(i!=="children"){var r=n[i];r instanceof P&&(o||(t.__np=o={}),o[i]=r,n[i]=r.peek())}}e(t)});ae("__r",function(e,t){if(e(t),t.type!==Z){ye();var o,n=t.__c;n&&(n.__$f&=-2,(o=n.__$u)===void 0&&(n.__$u=o=(function(i,r){var s;return te(function(){s=this},{name:r}),s.c=i,s})((function(i){return function(){var r;Gn&&((r=this.y)==null||r.call(this)),i.__$f|=1,i.setState({})}})(n),typeof t.type=="function"?t.type.displayName||t.type.name:""))),Je=n,ye(o)}});ae("__e",function(e,t,o,n){ye(),Je=void 0,e(t,o,n)});ae("diffed",function(e,t){ye(),Je=void 0;var o;if(typeof t.type=="string"&&(o=t.__e)){var n=t.__np,i=t.props,r=o.U;if(r)for(var s in r){var a=r[s];a===void 0||n&&s in n||(a.d(),r[s]=void 0)}if(n){r||(r={},o.U=r);for(var c in n){var p=r[c],f=n[c];p===void 0?(p=Bn(o,c,f,i),r[c]=p):p.o(f,i)}}}e(t)});function Bn(e,t,o,n){var i=t in e&&e.ownerSVGElement===void 0,r=b(o);return{o:function(s,a){r.value=s,n=a},d:te(function(){this.N=vo;var s=r.value.value;n[t]!==s&&(n[t]=s,i?e[t]=s:s!=null&&(s!==!1||t[4]==="-")?e.setAttribute(t,s):e.removeAttribute(t))})}}ae("unmount",function(e,t){if(typeof t.type=="string"){var o=t.__e;if(o){var n=o.U;if(n){o.U=void 0;for(var i in n){var r=n[i];r&&r.d()}}}var s=t.__np;if(s){var a=t.props;for(var c in s)a[c]=s[c]}t.__np=void 0}else{var p=t.__c;if(p){p.__$f|=8;var f=p.__$u;f&&(p.__$u=void 0,f.d())}}e(t)});ae("__h",function(e,t,o,n){n<3&&(t.__$f|=2),e(t,o,n)});re.prototype.shouldComponentUpdate=function(e,t){if(this.__R)return!0;var o=this.__$u,n=o&&o.s!==void 0;for(var i in t)return!0;if(this.__f||typeof this.u=="boolean"&&this.u===!0){var r=2&this.__$f;if(!(n||r||4&this.__$f)||1&this.__$f)return!0}else if(!(n||4&this.__$f)||3&this.__$f)return!0;for(var s in e)if(s!=="__source"&&e[s]!==this.props[s])return!0;for(var a in this.props)if(!(a in e))return!0;return!1};function Kn(e,t){return he(function(){return b(e,t)},[])}var zn=function(e){queueMicrotask(function(){queueMicrotask(e)})};function Qn(){ft(function(){for(var e;e=_o.shift();)mo.call(e)})}function vo(){_o.push(this)===1&&(g.requestAnimationFrame||zn)(Qn)}var go=function(e,t,o,n){var i;t[0]=0;for(var r=1;r<t.length;r++){var s=t[r++],a=t[r]?(t[0]|=s?1:2,o[t[r++]]):t[++r];s===3?n[0]=a:s===4?n[1]=Object.assign(n[1]||{},a):s===5?(n[1]=n[1]||{})[t[++r]]=a:s===6?n[1][t[++r]]+=a+"":s?(i=e.apply(a,go(e,a,o,["",null])),n.push(i),a[0]?t[0]|=2:(t[r-2]=0,t[r]=i)):n.push(a)}return n},$o=new Map;function yo(e){var t=$o.get(this);return t||(t=new Map,$o.set(this,t)),(t=go(this,t.get(e)||(t.set(e,t=(function(o){for(var n,i,r=1,s="",a="",c=[0],p=function(d){r===1&&(d||(s=s.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?c.push(0,d,s):r===3&&(d||s)?(c.push(3,d,s),r=2):r===2&&s==="..."&&d?c.push(4,d,0):r===2&&s&&!d?c.push(5,0,!0,s):r>=5&&((s||!d&&r===5)&&(c.push(r,0,s,i),r=6),d&&(c.push(r,d,0,i),r=6)),s=""},f=0;f<o.length;f++){f&&(r===1&&p(),p(f));for(var h=0;h<o[f].length;h++)n=o[f][h],r===1?n==="<"?(p(),c=[c],r=3):s+=n:r===4?s==="--"&&n===">"?(r=1,s=""):s=n+s[0]:a?n===a?a="":s+=n:n==='"'||n==="'"?a=n:n===">"?(p(),r=1):r&&(n==="="?(r=5,i=s,s=""):n==="/"&&(r<5||o[f][h+1]===">")?(p(),r===3&&(c=c[0]),r=c,(c=c[0]).push(2,0,r),r=0):n===" "||n==="	"||n===`
`||n==="\r"?(p(),r=2):s+=n),r===3&&s==="!--"&&(r=4,c=c[0])}return p(),c})(e)),t),arguments,[])).length>1?t:t[0]}var l=yo.bind(Me);function dt({title:e,onClose:t,children:o,footer:n,wide:i=!1}){let r=M(null),s=B();return y(()=>{let p=document.activeElement;return r.current.showModal(),()=>p?.isConnected&&p.focus()},[]),l`<dialog
    ref=${r} class="dialog ${i?"dialog-wide":""}" aria-labelledby=${s} onCancel=${p=>{p.preventDefault(),t()}} onClick=${p=>p.target===r.current&&t()}
  >
    <div class="dialog-box">
      <header class="dialog-header">
        <h2 id=${s}>${e}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${t}>×</button>
      </header>
      <div class="dialog-body">${o}</div>
      ${n&&l`<footer class="dialog-footer">${n}</footer>`}
    </div>
  </dialog>`}var bo=b(null);function wo(){if(bo.value===null)return null;let{title:e,text:t,label:o,isDangerous:n,answer:i}=bo.value,r=l`
    <button type="button" class="button" onClick=${()=>i(!1)}>Keep</button>
    <button type="button" class="button ${n?"button-bad":"button-primary"}" onClick=${()=>i(!0)}>
      ${o}
    </button>
  `;return l`<${dt} title=${e} onClose=${()=>i(!1)} footer=${r}><p>${t}</p></>`}var ko=["generate","gallery","queue","job","fleet","loras","keys","tenants","webhooks"],mt=b(Co(""));function q(e,t="",o={}){let n=t?`${e}/${encodeURIComponent(t)}`:e,i=new URLSearchParams(o).toString();return`#/${n}${i?`?${i}`:""}`}function xo(e,t="",o={}){location.hash=q(e,t,o)}function So(){let e=()=>mt.value=Co(location.hash);addEventListener("hashchange",e),e()}function Co(e){let[t,o=""]=e.replace(/^#\/?/,"").split("?"),[n,i=""]=t.split("/");return{view:ko.includes(n)?n:ko[0],arg:Xn(i),query:Object.fromEntries(new URLSearchParams(o))}}function Xn(e){try{return decodeURIComponent(e)}catch{return e}}var _t={g:"generate",a:"gallery",q:"queue",f:"fleet",l:"loras",k:"keys",t:"tenants",w:"webhooks"},Yn=[["Ctrl + Enter","submit the form of the generate view"],["?","show this list"],["Esc","close a dialog"]],ht=b(!1);function vt(){ht.value=!0}function Eo(){if(y(()=>{let o=!1,n=i=>{if(!(i.ctrlKey||i.metaKey||i.altKey||Zn(i.target))&&!document.querySelector("dialog[open]")){if(i.key==="?")vt();else if(o&&_t[i.key])xo(_t[i.key]);else if(i.key==="g"){o=!0;return}o=!1}};return addEventListener("keydown",n),()=>removeEventListener("keydown",n)},[]),!ht.value)return null;let e=()=>ht.value=!1,t=[...Object.entries(_t).map(([o,n])=>[`g ${o}`,`go to ${n}`]),...Yn];return l`<${dt} title="Keyboard shortcuts" onClose=${e}>
    <dl class="shortcuts">
      ${t.map(([o,n])=>l`<div key=${o}><dt>${o.split(" ").filter(i=>i!=="+").map(i=>l`<kbd>${i}</kbd>`)}</dt><dd>${n}</dd></div>`)}
    </dl>
  </>`}function Zn(e){return e.isContentEditable||["INPUT","TEXTAREA","SELECT"].includes(e.tagName)}var er=8e3,be=b([]),tr=0;function D(e,t="info"){let o=tr+=1;be.value=[...be.value.filter(n=>n.text!==e),{id:o,text:e,kind:t}],t!=="bad"&&setTimeout(()=>To(o),er)}function $t(){return l`<div class="toasts" role="status" aria-live="polite">
    ${be.value.map(({id:e,text:t,kind:o})=>l`<div class="toast toast-${o}" key=${e}>
        <p>${t}</p>
        <button type="button" class="icon-button" aria-label="Close the message" onClick=${()=>To(e)}>×</button>
      </div>`)}
  </div>`}function To(e){be.value=be.value.filter(t=>t.id!==e)}var le=b("lost"),No=["status","progress","done","reset","unauthorized"],or=3e3,nr=6e4,gt=new Map(No.map(e=>[e,new Set])),K=null,We=null,yt=!1;function oe(e,t){return gt.get(e).add(t),()=>gt.get(e).delete(t)}function Lo(){yt||(yt=!0,document.addEventListener("visibilitychange",Ao),bt())}function Ro(){yt=!1,document.removeEventListener("visibilitychange",Ao),wt()}function bt(){wt(),K=new EventSource("v1/events");let e=!1;K.onopen=()=>{le.value="open",e||Po("reset",{}),e=!0},K.onerror=()=>{le.value="lost",K?.readyState===EventSource.CLOSED&&(We=setTimeout(bt,or))};for(let t of No)K.addEventListener(t,o=>Po(t,JSON.parse(o.data)))}function wt(){clearTimeout(We),K?.close(),K=null,le.value="lost"}function Ao(){clearTimeout(We),document.hidden?We=setTimeout(wt,nr):K===null&&bt()}function Po(e,t){for(let o of gt.get(e))o(t)}var ue={csrfToken:null,onUnauthorized:()=>{}},Ge=class extends Error{constructor(t,o={},n=null){super(o.detail||"the API does not answer"),this.status=t,this.code=o.code??"",this.detail=this.message,this.field=o.field??null,this.errors=o.errors??[],this.estimate=o.estimate??null,this.retryAfterS=n}};async function A(e,{method:t="GET",json:o,body:n,headers:i={},signal:r}={}){let s={Accept:"application/json, */*;q=0.8",...rr(t),...i};o!==void 0&&(s["Content-Type"]="application/json",n=JSON.stringify(o));let a;try{a=await fetch(e,{method:t,body:n,headers:s,signal:r,credentials:"same-origin"})}catch(p){throw p.name==="AbortError"?p:new Ge(0)}let c=await ir(a);if(a.ok)return c;throw ar(a.status,c,a.headers.get("Retry-After"))}function rr(e){return e==="GET"||!ue.csrfToken?{}:{"X-CSRF-Token":ue.csrfToken}}async function ir(e){if(e.status===204||e.status===304)return null;let t=e.headers.get("Content-Type")??"";return/json/.test(t)?sr(await e.text()):e.ok?e.blob():{}}function sr(e){try{return JSON.parse(e)}catch{return{}}}function ar(e,t,o){return e===401&&ue.onUnauthorized(),new Ge(e,t??{},o?Number(o):null)}var lr="status,created_at,started_at,finished_at,queue_position,progress,model,prompt,images,error,warnings,priority,estimate",ur=50,Oo=4,cr=50,O=b(new Map),fr=b(null),pr=b(!1),kt=new Set,Mo=null;function Fo(){let e=[oe("reset",()=>Do().catch(()=>{})),oe("status",({job:t,status:o})=>{ce(o)&&Io(t,{status:o}),(o!=="running"||!O.value.has(t))&&xt(t)}),oe("progress",({job:t,step:o,total:n})=>Io(t,{progress:{step:o,total:n}})),oe("done",({job:t})=>xt(t))];return()=>e.forEach(t=>t())}async function Do(){let e=await A(`v1/jobs?limit=${ur}&fields=${lr}`),t=e.next_cursor&&e.jobs.at(-1).created_at,o=[...O.value.values()].filter(n=>t&&n.created_at<t);Ct([...e.jobs,...o]),o.filter(n=>ce(n.status)).slice(0,Oo).forEach(n=>xt(n.id)),fr.value=e.next_cursor,pr.value=!0}async function we(e){try{let t=await A(`v1/jobs/${e}`),o={...t,model:t.request.model,prompt:t.request.prompt};return dr(o),o}catch(t){if(t.status!==404)throw t;Ct([...O.value.values()].filter(o=>o.id!==e));return}}async function Uo(e){try{await A(`v1/jobs/${e}/cancel`,{method:"POST"})}catch(t){D(`The job was not cancelled: ${t.detail}`,"bad")}}function ce(e){return e==="queued"||e==="running"}function jo(e){return`v1/jobs/${e.id}/preview?step=${e.progress?.step??0}`}function St(e,t){return`v1/jobs/${e}/images/${t}`}function Io(e,t){let o=O.value.get(e);o&&(O.value=new Map(O.value).set(e,{...o,...t}))}function dr(e){O.value.has(e.id)?O.value=new Map(O.value).set(e.id,e):Ct([e,...O.value.values()])}function Ct(e){e.sort((t,o)=>t.created_at<o.created_at?1:t.created_at>o.created_at?-1:0),O.value=new Map(e.map(t=>[t.id,t]))}function xt(e){kt.add(e),Mo??=setTimeout(mr,cr)}async function mr(){let e=[...kt];kt.clear(),Mo=null;try{await(e.length>Oo?Do():Promise.all(e.map(we)))}catch{}}var fe=b(void 0);function Et(e){let t=fe.value?.scopes??[];return t.includes(e)||t.includes("admin")}async function Tt(){ue.onUnauthorized=()=>Be(null);try{Be(await A("v1/session"))}catch(e){e.status!==401&&setTimeout(Tt,2e3)}}async function qo(e){Be(await A("v1/session",{method:"POST",json:{key:e}}))}async function Ho(){await A("v1/session",{method:"DELETE"}),Be(null)}function Be(e){ue.csrfToken=e?.csrf_token??null,fe.value=e&&{...e,auth:e.key_id===null?"off":"keys"}}var Pt=["auto","light","dark"],Vo="swiftdiffusion.theme",Nt=b("auto");function Jo(){let e=null;try{e=localStorage.getItem(Vo)}catch{}Go(Pt.includes(e)?e:"auto")}function Wo(e){Go(e);try{localStorage.setItem(Vo,e)}catch{}}function Go(e){Nt.value=e,e==="auto"?delete document.documentElement.dataset.theme:document.documentElement.dataset.theme=e}var Bo=!0;function N({title:e,actions:t,children:o,className:n=""}){let i=M(null);return y(()=>{Bo||i.current.focus(),Bo=!1},[]),y(()=>{document.title=`${e} – swiftdiffusion`},[e]),l`<div class="page ${n}">
    <header class="page-header">
      <h1 ref=${i} tabindex="-1">${e}</h1>
      ${t&&l`<div class="page-actions">${t}</div>`}
    </header>
    ${o}
  </div>`}function Ko(){return l`<${N} title="API keys" />`}function zo(){return l`<${N} title="Tenants" />`}function Qo(){return l`<${N} title="Webhooks" />`}function Xo(){return l`<${N} title="Fleet" />`}function Yo(){return l`<${N} title="Gallery" />`}function Zo({title:e,children:t}){return l`<div class="empty">
    <p class="empty-title">${e}</p>
    <div class="empty-text">${t}</div>
  </div>`}function en({error:e,onRetry:t}){return l`<div class="empty empty-bad" role="alert">
    <p class="empty-title">${e.detail}</p>
    ${t&&l`<button type="button" class="button" onClick=${t}>Try again</button>`}
  </div>`}function I({label:e,hint:t,error:o,hideLabel:n=!1,className:i="",children:r}){let s=B(),a=Array.isArray(r)?r[0]:r,c=[t&&`${s}-hint`,o&&`${s}-error`].filter(Boolean).join(" ");return l`<div class="field ${i} ${o?"field-bad":""}">
    <label for=${s} class=${n?"visually-hidden":"field-label"}>${e}</label>
    ${qt(a,{id:s,"aria-describedby":c||void 0,"aria-invalid":o?"true":void 0})}
    ${t&&l`<p class="field-hint" id="${s}-hint">${t}</p>`}
    ${o&&l`<p class="field-error" id="${s}-error">${o}</p>`}
  </div>`}function z({options:e,value:t,onChange:o,...n}){let i=e.map(r=>Array.isArray(r)?r:[r,r]);return l`<select ...${n} value=${t} onChange=${r=>o(r.target.value)}>
    ${i.map(([r,s])=>l`<option key=${r} value=${r} selected=${r===t}>${s}</option>`)}
  </select>`}function tn({label:e,checked:t,onChange:o,...n}){return l`<label class="checkbox">
    <input type="checkbox" ...${n} checked=${t} onChange=${i=>o(i.target.checked)} />
    <span>${e}</span>
  </label>`}function on(e){let t=Object.fromEntries((e?.errors??[]).map(({field:o,detail:n})=>[o,n]));return e?.field&&!(e.field in t)&&(t[e.field]=e.detail),t}function ke(e,{everyMs:t=0}={}){let[o,n]=C({data:null,error:null,isLoading:e!==null}),i=M(null),r=io(async()=>{if(e===null)return;i.current?.abort();let s=i.current=new AbortController;try{let a=await A(e,{signal:s.signal});n({data:a,error:null,isLoading:!1})}catch(a){if(a.name==="AbortError")return;n(c=>({data:c.data,error:a,isLoading:!1}))}},[e]);return y(()=>{r();let s=()=>!document.hidden&&r(),a=t?setInterval(s,t):null;return t&&document.addEventListener("visibilitychange",s),()=>{clearInterval(a),document.removeEventListener("visibilitychange",s),i.current?.abort()}},[r,t]),{...o,reload:r}}function pe(e){if(e==null||!Number.isFinite(e))return"–";if(e<1)return`${e.toFixed(2)} s`;if(e<10)return`${e.toFixed(1)} s`;if(e<60)return`${Math.round(e)} s`;let t=Math.floor(e/60);return t<60?`${t} min ${Math.floor(e%60)} s`:t<1440?`${Math.floor(t/60)} h ${t%60} min`:`${Math.floor(t/1440)} d ${Math.floor(t%1440/60)} h`}function nn(e,t){return`${e.toLocaleString()} ${t}${e===1?"":"s"}`}var _r=500,hr=1e6,vr=2e3;function rn(e){let[t,o]=C({estimate:null,error:null}),i=!e.prompt.trim()?"":JSON.stringify(e);return y(()=>{if(!i){o({estimate:null,error:null});return}let r=new AbortController,a=setTimeout(async()=>{let c={"Content-Type":"application/json"};try{let p=await A("v1/jobs?dry_run=1",{method:"POST",body:i,headers:c,signal:r.signal});o({estimate:p,error:null})}catch(p){p.name!=="AbortError"&&o({estimate:p.estimate,error:p})}},i.length>hr?vr:_r);return()=>{clearTimeout(a),r.abort()}},[i]),t}function sn({estimate:e}){if(!e)return null;let{device_seconds:t,eta_s:o,eta_p90_s:n,queue_position:i}=e;return o===null?l`<span>No worker serves this model now: the job would wait.</span>`:l`<span>
    Done in about <strong>${pe(o)}</strong>, ${pe(n)} at most nine times of ten;
    ${" "}${pe(t)} of a device${i>1?`, after ${i-1} of your jobs`:""}.
  </span>`}function H({label:e,of:t,value:o,min:n,max:i,step:r,error:s,onChange:a,extra:c}){let p=B(),f=t?`${e} of ${t}`:e,h=u=>u.target.value!==""&&a(Number(u.target.value)),d=s?{"aria-invalid":"true","aria-describedby":`${p}-error`}:{};return l`<div class="slider ${s?"field-bad":""}">
    <label class="field-label slider-label" for=${p}>${e}${t&&l`<span class="visually-hidden"> of ${t}</span>`}</label>
    <input type="number" class="slider-number" aria-label="${f}, as a number" step=${r} value=${o} ...${d} onInput=${h} />
    ${c}
    <input type="range" id=${p} min=${n} max=${i} step=${r} value=${o} onInput=${h} />
    ${s&&l`<p class="field-error" id="${p}-error">${s}</p>`}
  </div>`}function xe({label:e,accept:t="image/*",multiple:o=!1,hint:n,error:i,onFiles:r,children:s}){let[a,c]=C(!1),p=M(0),f=M(null),h=B(),d=v=>{let $=[...v??[]];$.length&&r(o?$:$.slice(0,1))},u=v=>$=>{$.preventDefault(),p.current+=v,c(p.current>0)},m=v=>{v.preventDefault(),p.current=0,c(!1),d(v.dataTransfer?.files)};return l`<div
    class="file-drop ${a?"file-drop-over":""} ${i?"file-drop-bad":""}"
    onDragEnter=${u(1)} onDragLeave=${u(-1)} onDragOver=${v=>v.preventDefault()} onDrop=${m}
  >
    <input
      ref=${f} type="file" hidden accept=${t}
      multiple=${o} onChange=${v=>{d(v.target.files),v.target.value=""}}
    />
    ${s??l`<button
      type="button" class="file-drop-button" aria-describedby=${i?`${h}-error`:void 0}
      onClick=${()=>f.current.click()}
    >
      <strong>${e}</strong><span>${n??"drop a file here, or press to pick one"}</span>
    </button>`}
    ${i&&l`<p class="field-error" id="${h}-error">${i}</p>`}
  </div>`}var $r=300,an=b(!0);function ln({controlnet:e,n:t,size:o}){let[n,i]=C({url:null,error:null}),{image:r,preprocessor:s,preprocessor_options:a}=e,{width:c,height:p}=o,f=JSON.stringify(a);return y(()=>{let h=new AbortController,u=setTimeout(async()=>{let m={image:r.data,preprocessor:s,preprocessor_options:JSON.parse(f)};c&&(m.width=Number(c)),p&&(m.height=Number(p));try{let v=await A("v1/controlnets/preprocess",{method:"POST",json:m,signal:h.signal});i({url:URL.createObjectURL(v),error:null})}catch(v){if(v.name==="AbortError")return;[404,405].includes(v.status)&&!v.field&&(an.value=!1),i({url:null,error:v.detail})}},$r);return()=>{clearTimeout(u),h.abort()}},[r.data,s,f,c,p]),y(()=>()=>n.url&&URL.revokeObjectURL(n.url),[n.url]),an.value?l`<figure class="control-map" aria-live="polite">
    ${n.url&&l`<img src=${n.url} alt="Control map ${t+1}: ${s}" />`}
    ${n.error?l`<figcaption class="field-error">${n.error}</figcaption>`:l`<figcaption class="muted">Control map: what the ControlNet is given.</figcaption>`}
  </figure>`:null}var Ke={prompt:"",negative_prompt:"",model:"",width:"",height:"",num_inference_steps:"",guidance_scale:"",scheduler:"",seed:"",num_images:"1",strength:"",prompt_syntax:"plain",output_format:"png",output_quality:"",priority:"normal",image:null,mask_image:null,loras:[],controlnets:[]},un=["width","height","num_inference_steps","guidance_scale","seed","num_images","strength","output_quality"],cn=["model","scheduler","negative_prompt"],fn=0,k=b(Ke);function L(e){k.value={...k.value,...e}}function pn(){k.value=Ke}function dn(e,t){let o={...gr,key:fn+=1,image:e,name:t};L({controlnets:[...k.value.controlnets,o]})}var gr={preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1};function Lt(e,t){let o=k.value.controlnets.flatMap(n=>n.key!==e?[n]:t?[{...n,...t}]:[]);L({controlnets:o})}function Rt(e){let t={prompt:e.prompt};for(let o of un)e[o]!==""&&(t[o]=Number(e[o]));for(let o of cn)e[o]&&(t[o]=e[o]);return e.prompt_syntax!=="plain"&&(t.prompt_syntax=e.prompt_syntax),e.output_format!=="png"?t.output_format=e.output_format:delete t.output_quality,e.priority!=="normal"&&(t.priority=e.priority),e.image?t.image=e.image.data:delete t.strength,e.image&&e.mask_image&&(t.mask_image=e.mask_image.data),e.loras.length&&(t.loras=e.loras.map(({name:o,scale:n})=>({name:o,scale:br(n)}))),e.controlnets.length&&(t.controlnets=e.controlnets.map(({key:o,image:n,...i})=>({...i,image:n.data}))),t}function mn({id:e,request:t}){let o=(i,r,s)=>i&&{data:`sha256:${i}`,thumb:r,name:s},n=Object.fromEntries([...un,...cn,"prompt","prompt_syntax","output_format"].map(i=>[i,yr(t[i],Ke[i])]));k.value={...Ke,...n,num_images:String(t.seeds?.length??t.num_images),image:o(t.image,null,"the image of that job")??null,mask_image:o(t.mask_image,null,"the mask of that job")??null,loras:t.loras.map(({name:i,scale:r})=>({name:i,scale:typeof r=="number"?r:JSON.stringify(r)})),controlnets:t.controlnets.map((i,r)=>({key:fn+=1,image:o(i.image,`v1/jobs/${e}/controlnets/${r}/image`,"stored image"),name:i.name,preprocessor:i.preprocessor,preprocessor_options:i.preprocessor_options,conditioning_scale:i.conditioning_scale,guidance_start:i.guidance_start,guidance_end:i.guidance_end}))}}function yr(e,t){return e==null?t:String(e)}function br(e){return typeof e=="string"?JSON.parse(e):e}function ze(e){return new Promise((t,o)=>{let n=new FileReader;n.onerror=()=>o(n.error),n.onload=()=>t({data:n.result,thumb:n.result,name:e.name}),n.readAsDataURL(e)})}function Se({label:e,hint:t,error:o,value:n,onChange:i}){let r=([s])=>ze(s).then(i,()=>D(`${s.name} could not be read.`,"bad"));return n?l`<${xe} label="${e}: another file" error=${o} onFiles=${r}>
    <div class="image-input">
      ${n.thumb?l`<img src=${n.thumb} alt="" />`:l`<div class="image-input-none"></div>`}
      <div class="grow">
        <p class="field-label">${e}</p>
        <p class="muted image-input-name">${n.name}</p>
      </div>
      <button type="button" class="button button-small" onClick=${()=>i(null)}>
        Remove<span class="visually-hidden"> ${e}</span>
      </button>
    </div>
  </>`:l`<${xe} label=${e} hint=${t} error=${o} onFiles=${r} />`}function _n({names:e,preprocessors:t,size:o,errors:n}){let i=k.value.controlnets,r=async s=>{for(let a of s)try{dn(await ze(a),e[0])}catch{D(`${a.name} could not be read.`,"bad")}};return l`<fieldset class="section">
    <legend>ControlNets</legend>
    ${i.map((s,a)=>l`<${wr} key=${s.key} controlnet=${s} n=${a} names=${e} preprocessors=${t} size=${o} errors=${n} />`)}
    ${n.controlnets&&l`<p class="field-error">${n.controlnets}</p>`}
    ${e.length?l`<${xe} label="Add a control image" multiple hint="drop an image here, or press to pick one" onFiles=${r} />`:l`<p class="muted">No ControlNet fits this model.</p>`}
  </fieldset>`}function wr({controlnet:e,n:t,names:o,preprocessors:n,size:i,errors:r}){let{key:s,image:a,name:c,preprocessor:p,conditioning_scale:f,guidance_start:h,guidance_end:d}=e,u=_=>Lt(s,_),m=_=>r[`controlnets.${t}.${_}`],v=o.includes(c)?o:[c,...o],$=`ControlNet ${t+1}`,w=_=>l`${_}<span class="visually-hidden"> of ${$}</span>`;return l`<div class="controlnet">
    <${Se} label=${`Control image ${t+1}`} value=${a} error=${m("image")} onChange=${_=>Lt(s,_&&{image:_})} />
    <div class="fields">
      <${I} label=${w("ControlNet")} error=${m("name")}>
        <${z} options=${v} value=${c} onChange=${_=>u({name:_})} />
      </>
      <${I} label=${w("Preprocessor")} error=${m("preprocessor")}>
        <${z}
          options=${n.map(_=>_.name)} value=${p}
          onChange=${_=>u({preprocessor:_,preprocessor_options:{}})}
        />
      </>
    </div>
    <${kr} controlnet=${e} preprocessors=${n} error=${m("preprocessor_options")} onChange=${u} />
    ${p!=="none"&&l`<${ln} controlnet=${e} n=${t} size=${i} />`}
    <${H}
      label="Weight" of=${$} value=${f} min=${0} max=${2} step=${.05} error=${m("conditioning_scale")}
      onChange=${_=>u({conditioning_scale:_})}
    />
    <div class="fields">
      <${H}
        label="From" of=${$} value=${h} min=${0} max=${1} step=${.05} error=${m("guidance_start")??r[`controlnets.${t}`]}
        onChange=${_=>u({guidance_start:_})}
      />
      <${H}
        label="To" of=${$} value=${d} min=${0} max=${1} step=${.05} error=${m("guidance_end")}
        onChange=${_=>u({guidance_end:_})}
      />
    </div>
  </div>`}function kr({controlnet:e,preprocessors:t,error:o,onChange:n}){let{preprocessor:i,preprocessor_options:r}=e,s=Object.entries(t.find(c=>c.name===i)?.options??{});if(!s.length)return null;let a=(c,p)=>n({preprocessor_options:{...r,[c]:p}});return l`<div class="fields">
    ${s.map(([c,p])=>{let f=p.maximum??64,h=p.type==="integer";return l`<${H}
        key=${c} label=${c.replaceAll("_"," ")} value=${r[c]??p.default}
        min=${p.minimum??(h?0:.5)} max=${f} step=${h?1:.5}
        onChange=${d=>a(c,d)}
      />`})}
    ${o&&l`<p class="field-error">${o}</p>`}
  </div>`}var Qe=8,xr="v1/loras?limit=1000";function hn({errors:e}){let[t,o]=C(""),{data:n,error:i}=ke(xr),r=k.value.loras,s=t.toLowerCase().split(/\s+/).filter(Boolean),a=(n?.loras??[]).filter(({name:d,problem:u})=>!u&&!r.some(m=>m.name===d)),c=a.filter(({name:d})=>s.every(u=>d.toLowerCase().includes(u))),p=d=>{L({loras:[...r,{name:d,scale:1}]}),o("")},f=(d,u)=>L({loras:r.map(m=>m.name===d?{name:d,scale:u}:m)}),h=d=>L({loras:r.filter(u=>u.name!==d)});return l`<fieldset class="section">
    <legend>LoRAs</legend>
    ${e.loras&&l`<p class="field-error">${e.loras}</p>`}
    ${r.map((d,u)=>l`<${Sr}
        key=${d.name} lora=${d} error=${e[`loras.${u}.name`]??e[`loras.${u}.scale`]??e[`loras.${u}`]}
        onChange=${m=>f(d.name,m)} onRemove=${()=>h(d.name)}
      />`)}
    ${i&&l`<p class="field-error">${i.detail}</p>`}
    ${n&&!n.loras.length&&l`<p class="muted">There are none yet: <a href=${q("loras")}>upload one</a>.</p>`}
    ${(a.length>Qe||t)&&l`<${I} label="Search LoRAs" hideLabel>
      <input type="search" placeholder="Search ${a.length} LoRAs" value=${t} onInput=${d=>o(d.target.value)} />
    </>`}
    <ul class="chips">
      ${c.slice(0,Qe).map(({name:d})=>l`<li key=${d}>
          <button type="button" class="chip" onClick=${()=>p(d)}>
            <span aria-hidden="true">+</span> <span class="visually-hidden">Add LoRA </span>${d}
          </button>
        </li>`)}
      ${c.length>Qe&&l`<li class="muted">and ${c.length-Qe} more</li>`}
      ${t&&!c.length&&l`<li class="muted">No LoRA is called so.</li>`}
    </ul>
  </fieldset>`}function Sr({lora:e,error:t,onChange:o,onRemove:n}){let{name:i,scale:r}=e,s=l`<button type="button" class="icon-button" aria-label="Remove LoRA ${i}" onClick=${n}>×</button>`;return typeof r=="number"?l`<${H} label=${i} value=${r} min=${-1} max=${2} step=${.05} error=${t} onChange=${o} extra=${s} />`:l`<div class="row"><span class="field-label">${i}</span><code class="grow">${r}</code>${s}</div>`}var Cr=[["png","PNG, lossless"],["jpeg","JPEG"],["webp","WebP"]],Er=[["interactive","interactive: before my others"],["normal","normal"],["batch","batch: after my others"]],Tr=2**32;function vn({catalog:e,errors:t}){let o=e.models.find(({name:a})=>a===k.value.model)??e.models.find(a=>a.default),{width:n,height:i,image:r}=k.value,s={width:n||(r?null:o?.width),height:i||(r?null:o?.height)};return l`
    <${Pr} errors=${t} />
    <${Nr} models=${e.models} model=${o} errors=${t} />
    <${hn} errors=${t} />
    <${_n} names=${o?.controlnets??[]} preprocessors=${e.preprocessors} size=${s} errors=${t} />
    <${Rr} errors=${t} />
    <${Ar} errors=${t} />
  `}function Pr({errors:e}){let{prompt:t,negative_prompt:o}=k.value;return l`<div class="stack">
    <${I} label="Prompt" error=${e.prompt}>
      <textarea rows="3" value=${t} required onInput=${Ce("prompt")} placeholder="a red apple on a blue background"></textarea>
    </>
    <${I} label="Negative prompt" error=${e.negative_prompt}>
      <input value=${o} onInput=${Ce("negative_prompt")} placeholder="what the image shall not show" />
    </>
  </div>`}function Nr({models:e,model:t,errors:o}){let n=k.value,i=(a,c,p,f)=>l`<${I} label=${c} error=${o[a]}>
    <input type="number" value=${n[a]} placeholder=${p??""} onInput=${Ce(a)} ...${f} />
  </>`,r=e.map(({name:a,workers:c})=>[a,c.length?a:`${a} (no worker)`]),s=[["",`the model's: ${t?.scheduler??""}`],...t?.schedulers??[]];return l`<fieldset class="section">
    <legend>Model</legend>
    <${I} label="Model" hideLabel error=${o.model}>
      <${z} options=${r} value=${n.model||t?.name} onChange=${a=>L({model:a})} />
    </>
    <div class="fields fields-3">
      ${i("width","Width",t?.width,{min:8,step:8})} ${i("height","Height",t?.height,{min:8,step:8})}
      ${i("num_images","Images",1,{min:1})} ${i("num_inference_steps","Steps",t?.num_inference_steps,{min:1})}
      ${i("guidance_scale","Guidance",t?.guidance_scale,{min:0,step:.5})} <${Lr} error=${o.seed} />
    </div>
    <${I} label="Scheduler" error=${o.scheduler}>
      <${z} options=${s} value=${n.scheduler} onChange=${a=>L({scheduler:a})} />
    </>
  </fieldset>`}function Lr({error:e}){let{seed:t}=k.value,o=()=>L({seed:t===""?String(Math.floor(Math.random()*Tr)):""});return l`<div class="seed">
    <${I} label="Seed" error=${e}>
      <input type="number" min="0" value=${t} placeholder="random" onInput=${Ce("seed")} />
    </>
    <button type="button" class="link-button" onClick=${o}>${t===""?"Fix one":"Random"}</button>
  </div>`}function Rr({errors:e}){let{image:t,mask_image:o,strength:n}=k.value,i=o?1:.8;return l`<fieldset class="section">
    <legend>Start from an image</legend>
    <${Se}
      label="Image" hint="optional: drop one, or press to pick it" value=${t} error=${e.image}
      onChange=${r=>L(r?{image:r}:{image:null,mask_image:null,strength:""})}
    />
    ${t&&l`<${H}
        label="Strength: how much is generated anew" value=${n===""?i:Number(n)} min=${0} max=${1} step=${.05}
        error=${e.strength} onChange=${r=>L({strength:String(r)})}
      />
      <${Se}
        label="Mask" hint="optional: white is generated anew, black stays" value=${o} error=${e.mask_image}
        onChange=${r=>L({mask_image:r})}
      />`}
  </fieldset>`}function Ar({errors:e}){let{output_format:t,output_quality:o,priority:n,prompt_syntax:i}=k.value;return l`<fieldset class="section">
    <legend>Output and queue</legend>
    <div class="fields">
      <${I} label="File format" error=${e.output_format}>
        <${z} options=${Cr} value=${t} onChange=${r=>L({output_format:r})} />
      </>
      ${t!=="png"&&l`<${I} label="Quality" error=${e.output_quality}>
        <input type="number" min="1" max="100" placeholder="95" value=${o} onInput=${Ce("output_quality")} />
      </>`}
      <${I} label="Priority" error=${e.priority}>
        <${z} options=${Er} value=${n} onChange=${r=>L({priority:r})} />
      </>
    </div>
    <${tn}
      label="Weights in prompts, as A1111 writes them: (red:1.3)" checked=${i==="a1111"}
      onChange=${r=>L({prompt_syntax:r?"a1111":"plain"})}
    />
  </fieldset>`}function Ce(e){return t=>L({[e]:t.target.value})}var Ir=2e4;function $n({job:e,children:t=null}){let[o,n]=C(null),[i,r]=C(0),s=jo(e);return y(()=>{let a=setInterval(()=>r(c=>c+1),Ir);return()=>clearInterval(a)},[]),y(()=>{let a=new AbortController;return Or(s,a.signal).then(c=>c&&n(c),()=>{}),()=>a.abort()},[s,e.status,i]),y(()=>()=>o&&URL.revokeObjectURL(o),[o]),o?l`<img class="preview" src=${o} alt="Preview after step ${e.progress?.step??0}" />`:t}async function Or(e,t){let o=await fetch(e,{signal:t,credentials:"same-origin"});return o.ok?URL.createObjectURL(await o.blob()):null}function gn({label:e,value:t,max:o=1,text:n}){let i=t!=null&&o>0;return l`<div class="progress">
    <progress aria-label=${e} value=${i?t:void 0} max=${i?o:void 0}></progress>
    ${n&&l`<span class="progress-text">${n}</span>`}
  </div>`}var Mr={succeeded:"ok",running:"accent",queued:"muted",failed:"bad",cancelled:"warn"};function yn({status:e,kind:t}){return l`<span class="status status-${t??Mr[e]??"muted"}">${e}</span>`}var bn="swiftdiffusion.submitted",Fr=30,Ee=b(Dr());function wn(e){kn([e,...Ee.value].slice(0,Fr))}function At(e){kn(Ee.value.filter(t=>!e.includes(t)))}function Dr(){try{return JSON.parse(sessionStorage.getItem(bn))??[]}catch{return[]}}function kn(e){Ee.value=e;try{sessionStorage.setItem(bn,JSON.stringify(e))}catch{}}function xn(){let e=Ee.value;y(()=>{for(let n of e)O.value.has(n)||we(n).then(i=>i||At([n]),()=>{})},[e]);let t=e.map(n=>O.value.get(n)).filter(Boolean),o=t.filter(n=>!ce(n.status)).map(n=>n.id);return l`<section class="results" aria-label="Results">
    <header class="row">
      <h2 class="grow">Results</h2>
      ${o.length>0&&l`<button type="button" class="button button-small" onClick=${()=>At(o)}>Clear</button>`}
    </header>
    ${t.length?t.map(n=>l`<${Ur} key=${n.id} job=${n} />`):l`<${Zo} title="Nothing submitted yet">
          Describe an image at the left and press <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Previews appear here while it is generated; all
          jobs are in the <a href=${q("gallery")}>gallery</a>.
        </>`}
  </section>`}function Ur({job:e}){return l`<article class="job-card card" aria-label=${`Job: ${e.prompt}`} data-job=${e.id} data-status=${e.status}>
    <header class="row">
      <${yn} status=${e.status} />
      <p class="grow job-prompt">${e.prompt}</p>
      ${ce(e.status)&&l`<button type="button" class="button button-small" onClick=${()=>Uo(e.id)}>Cancel</button>`}
      <a class="button button-small" href=${q("job",e.id)}>Details</a>
    </header>
    ${ce(e.status)&&l`<${jr} job=${e} />`}
    ${e.error&&l`<p class="field-error">${e.error.detail}</p>`}
    ${e.warnings?.map(t=>l`<p class="warning" key=${t}>${t}</p>`)}
    ${e.images?.length>0&&l`<${Hr} job=${e} />`}
    <p class="visually-hidden" role="status">${Vr(e)}</p>
  </article>`}function jr({job:e}){let{step:t=0,total:o=0}=e.progress??{},n=l`<div class="preview-none muted">${qr(e)}</div>`;return l`
    <div class="previews"><${$n} job=${e}>${n}</></div>
    ${e.status==="running"&&l`<${gn} label="Steps of the job" value=${o?t:null} max=${o} text=${o?`${t} of ${o} steps`:"preparing"} />`}
  `}function qr({status:e,queue_position:t,estimate:o}){if(e==="running")return"The first preview comes after a few steps.";let n=t>1?`Number ${t} of your queue.`:"Next in your queue.";return o?.eta_s?`${n} Done in about ${pe(o.eta_s)}.`:n}function Hr({job:e}){return l`<ul class="images">
    ${e.images.map(({seed:t,width:o,height:n},i)=>l`<li key=${i}>
        <a href=${St(e.id,i)} target="_blank" rel="noreferrer">
          <img
            class=${o<256?"pixelated":""} src=${St(e.id,i)} width=${o} height=${n}
            alt=${`Image ${i+1} of ${e.images.length}: ${e.prompt}`}
          />
        </a>
        <p class="row muted">
          <span>${o} × ${n}</span>
          <button type="button" class="link-button" onClick=${()=>L({seed:String(t)})}>Use seed ${t}</button>
        </p>
      </li>`)}
  </ul>`}function Vr({status:e,prompt:t,images:o}){return e==="succeeded"?`${nn(o?.length??0,"image")} of “${t}”: done.`:e==="failed"||e==="cancelled"?`“${t}”: ${e}.`:""}var Jr=15e3;function Sn({query:e}){let t=ke("v1/models",{everyMs:Jr}),o=ke("v1/controlnets"),n=t.error??o.error;zr(e.from);let i=l`<button type="button" class="button button-small" onClick=${pn}>Clear the form</button>`;if(!t.data||!o.data)return l`<${N} title="Generate">${n&&l`<${en} error=${n} onRetry=${()=>(t.reload(),o.reload())} />`}</>`;let r={models:t.data.models,preprocessors:o.data.preprocessors};return l`<${N} title="Generate" actions=${i} className="generate">
    <div class="generate-columns">
      <${Wr} catalog=${r} />
      <${xn} />
    </div>
  </>`}function Wr({catalog:e}){let t=M(null),[o,n]=C(null),[i,r]=C(!1),s=Rt(k.value),{estimate:a,error:c}=rn(s);y(()=>n(null),[k.value]);let p=o??c,f=on(p),h=p&&!Br(p,k.value)?p.detail:null,d=async u=>{if(u?.preventDefault(),!(i||!k.value.prompt.trim())){r(!0);try{let{id:m}=await A("v1/jobs",{method:"POST",json:Rt(k.value)});wn(m),await we(m),Gr()}catch(m){n(m)}r(!1)}};return Kr(d),l`<form class="generate-form" ref=${t} onSubmit=${d} noValidate>
    <${vn} catalog=${e} errors=${f} />
    <div class="submit-bar">
      <button type="submit" class="button button-primary" disabled=${i||!k.value.prompt.trim()}>
        ${i?"Submitting …":"Generate"}
      </button>
      <div class="submit-text" aria-live="polite">
        ${h?l`<p class="field-error">${h}</p>`:l`<p class="muted"><${sn} estimate=${a} /></p>`}
      </div>
    </div>
  </form>`}function Gr(){let e=document.querySelector(".results");e&&e.getBoundingClientRect().top>innerHeight&&e.scrollIntoView({block:"start"})}function Br(e,t){let o=e.field??e.errors[0]?.field;if(!o)return!1;let[n,i]=o.split(".");return n in t&&(i===void 0||i in t[n])}function Kr(e){let t=M(e);t.current=e,y(()=>{let o=n=>{n.key==="Enter"&&(n.ctrlKey||n.metaKey)&&!document.querySelector("dialog[open]")&&(n.preventDefault(),t.current())};return addEventListener("keydown",o),()=>removeEventListener("keydown",o)},[])}function zr(e){y(()=>{e&&A(`v1/jobs/${encodeURIComponent(e)}`).then(mn,t=>D(t.detail,"bad"))},[e])}function Cn(){return l`<${N} title="Job" />`}function En(){let[e,t]=C(""),[o,n]=C(null),[i,r]=C(!1);return l`<main class="alone">
    <form class="login" onSubmit=${async a=>{a.preventDefault(),r(!0),n(null);try{await qo(e.trim())}catch(c){n(c.retryAfterS?`${c.detail}; try again in ${c.retryAfterS} s`:c.detail),r(!1)}}}>
      <h1>swiftdiffusion</h1>
      <${I}
        label="API key" error=${o}
        hint="It is sent once; a cookie of this browser takes its place. The first key is shown when the fleet starts."
      >
        <input
          type="password" value=${e} autocomplete="current-password" spellcheck=${!1} required autofocus
          placeholder="swk_…" onInput=${a=>t(a.target.value)}
        />
      </>
      <button type="submit" class="button button-primary" disabled=${i||!e.trim()}>Log in</button>
    </form>
  </main>`}function Tn(){return l`<${N} title="LoRAs" />`}function Pn(){return l`<${N} title="Queue" />`}var Nn={generate:{view:Sn,label:"Generate",scope:"jobs"},gallery:{view:Yo,label:"Gallery",scope:"jobs"},queue:{view:Pn,label:"Queue",scope:"jobs"},job:{view:Cn,scope:"jobs"},loras:{view:Tn,label:"LoRAs",scope:"loras"},fleet:{view:Xo,label:"Fleet",scope:"fleet"},webhooks:{view:Qo,label:"Webhooks",scope:"jobs"},tenants:{view:zo,label:"Tenants",scope:"admin"},keys:{view:Ko,label:"API keys",scope:"admin"}};function Ln(){let e=fe.value,t=e?.auth==="off"?"off":e?.key_id;if(y(()=>{if(!e||!Et("jobs"))return;let s=Fo(),a=oe("unauthorized",()=>fe.value=null);return Lo(),()=>{Ro(),a(),s()}},[t]),y(()=>{let s=a=>a.preventDefault();for(let a of["dragover","drop"])addEventListener(a,s)},[]),e===void 0)return l`<main class="alone" aria-busy="true"><p class="muted">Connecting to the API …</p></main>`;if(e===null)return l`<${En} /><${$t} />`;let{view:o,arg:n,query:i}=mt.value,r=Nn[o].view;return l`
    <a class="skip" href="#main" onClick=${ei}>Skip to the content</a>
    <div class="shell">
      <${Qr} current=${o} />
      <main id="main" tabindex="-1"><${r} key=${`${o}/${n}`} arg=${n} query=${i} /></main>
    </div>
    <${$t} /><${wo} /><${Eo} />
  `}function Qr({current:e}){let[t,o]=C(!1);y(()=>o(!1),[e]);let n=Object.entries(Nn).filter(([,{label:i,scope:r}])=>i&&Et(r));return l`<header class="sidebar ${t?"sidebar-open":""}">
    <div class="brand">
      <a href=${q("generate")}>swiftdiffusion</a>
      <button
        type="button" class="button menu-button" aria-expanded=${t?"true":"false"} aria-controls="menu"
        onClick=${()=>o(!t)}
      >
        Menu
      </button>
    </div>
    <div class="menu" id="menu">
      <nav aria-label="Views">
        <ul>
          ${n.map(([i,{label:r}])=>l`<li key=${i}>
              <a href=${q(i)} aria-current=${i===e?"page":void 0}>${r}</a>
            </li>`)}
        </ul>
      </nav>
      <div class="sidebar-foot"><${Xr} /><${Yr} /><${Zr} /></div>
    </div>
  </header>`}function Xr(){let{auth:e,tenant:t}=fe.value,o=()=>Ho().catch(n=>D(n.detail,"bad"));return l`<div class="account">
    <p class="connection connection-${le.value}" aria-live="polite">
      ${le.value==="open"?"Live":"Connection lost"}
    </p>
    ${e==="keys"&&l`<p class="muted">Tenant <strong>${t}</strong></p>
      <button type="button" class="button button-small" onClick=${o}>Log out</button>`}
  </div>`}function Yr(){return l`<fieldset class="segments">
    <legend class="visually-hidden">Colours</legend>
    ${Pt.map(e=>l`<label key=${e}>
        <input type="radio" name="theme" value=${e} checked=${Nt.value===e} onChange=${()=>Wo(e)} />
        <span>${e}</span>
      </label>`)}
  </fieldset>`}function Zr(){return l`<p class="help-links">
    <button type="button" class="link-button" onClick=${vt}>Shortcuts <kbd>?</kbd></button>
    <a href="docs/swagger">API</a>
  </p>`}function ei(e){e.preventDefault(),document.getElementById("main").focus()}Jo();So();Tt();Kt(l`<${Ln} />`,document.getElementById("app"));
