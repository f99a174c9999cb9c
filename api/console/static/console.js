var R,rn,io,xe,so,Ct,sn,xt,an,lo,ao,Ta,Ze=Symbol.for("pv"),Et={},Tt=[],Aa=/^m(i|n|o|s|text|space)$/,co=Array.isArray,At=Tt.slice,Se=Object.assign;function Ae(e){e&&e.parentNode&&e.remove()}function Rt(e,t,o){var n,r,s,i={},l=arguments.length;for(s in t)s=="key"?n=t[s]:s=="ref"&&typeof e!="function"?r=t[s]:i[s]=t[s];return l>2&&(i.children=l>3?At.call(arguments,2):o),Me(e,i,n,r,null)}function ln(e,t,o){var n,r,s,i=Se({},e.props),l=arguments.length;for(s in t)s=="key"?n=t[s]:s=="ref"&&typeof e.type!="function"?r=t[s]:i[s]=t[s];return l>2&&(i.children=l>3?At.call(arguments,2):o),Me(e.type,i,n!==void 0?n:e.key,r!==void 0?r:e.ref,null)}function Me(e,t,o,n,r){var s={type:e,props:t,key:o,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:Ze,__v:r||++rn,__i:-1,__u:0};return!r&&R.vnode&&R.vnode(s),s}function Re(e){return e.children}function Ue(e,t){this.props=e,this.context=t,this.__g=0}function Ce(e,t){if(t==null)return e.__&&Ce(e.__,e.__i+1);for(var o;t<e.__k.length;t++)if((o=e.__k[t])&&o.__e)return o.__e;return typeof e.type!="function"||e.props.__P?null:Ce(e)}function Ra(e){var t,o=e.__v,n=o.__e,r=[],s=[],i=e.__P;i&&((t=Se({constructor:Ze},o)).__v=o.__v+1,R.vnode&&R.vnode(t),uo(i,t,o,e.__n,i.namespaceURI,32&o.__u?[n]:null,r,n||Ce(o),32&o.__u,s),t.__v=o.__v,t.__.__k[t.__i]=t,pn(r,t,s),o.__=o.__e=null,t.__e!=n&&cn(t))}function cn(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){return t&&(e.__e=t.__e)}),cn(e)}function on(e){(8&e.__g||(e.__g|=8,xe.push(e),Ct++))&&so==R.debounceRendering||((so=R.debounceRendering)||queueMicrotask)(un)}function un(){try{for(var e,t=1;xe.length;)xe.length>t&&xe.sort(sn),e=xe.shift(),t=xe.length,8&e.__g&&Ra(e)}finally{(Ct=xe.length)&&(so||queueMicrotask)(un)}}function dn(e,t,o,n,r,s,i,l,c,d,u){var m,p,f,h,_,g,E=n.__k||Tt,v=t.length;for(c=La(o,t,E,c,v),m=0;m<v;m++)(f=o.__k[m])!=null&&(p=~f.__i&&E[f.__i]||Et,f.__i=m,g=uo(e,f,p,r,s,i,l,c,d,u),h=f.__e,(p.ref!=f.ref||8&p.__u)&&(p.ref&&fo(p.ref,null,f,p),f.ref&&u.push(f.ref,f.__c||h,f)),_=_||h,4&f.__u?(c=fn(f,c,e,!p.__v),p.__e&&(p.__e=null)):typeof f.type=="function"&&g!==void 0?c=g:h&&(c=h.nextSibling),f.__u&=-21);return o.__e=_,c}function La(e,t,o,n,r){var s,i,l,c,d,u,m,p,f,h=o.length,_=h,g=0,E=0,v=e.__k=Array(r);for(s=0;s<r;s++)(i=t[s])!=null&&typeof i!="boolean"&&typeof i!="function"?(typeof i!="object"||i.constructor===String?i=v[s]=Me(null,i):co(i)?i=v[s]=Me(Re,{children:i}):i.constructor===Ze&&i.__b?i=v[s]=Me(i.type,i.props,i.key,i.ref,i.__v):v[s]=i,c=s+g,i.__=e,i.__b=e.__b+1,l=null,~(d=i.__i=Oa(i,o,c,_))&&(_--,(l=o[d])&&(l.__u|=2)),l&&l.__v?(i.__u|=16,d==c-1?g--:d==c+1?g++:d!=c&&(d>c?g--:g++,E=1)):(~d||(r>h?g--:r<h&&g++),typeof i.type!="function"&&(i.__u|=4))):v[s]=null;if(E){for(u=[],m=[],s=0;s<r;s++)if((i=v[s])&&16&i.__u){for(g=0,p=u.length;g<p;)u[f=g+p>>1]<i.__i?g=f+1:p=f;u[g]=i.__i,m[s]=g+1}for(g=u.length;s--;)m[s]&&(m[s]==g?g--:v[s].__u|=4)}if(_)for(s=0;s<h;s++)!(l=o[s])||2&l.__u||(l.__e==n&&(n=Ce(l)),mo(l,l));return n}function fn(e,t,o,n){var r,s,i,l;if(typeof e.type=="function"){if(e.props.__P)return t;if(r=e.__k)for(s=0;s<r.length;s++)r[s]&&(r[s].__=e,t=fn(r[s],t,o,!1));return t}for(t&&!t.parentNode&&(t=Ce(e))&&!t.parentNode&&(t=null),i=e.__e,l=t;l&&l.nodeType==8;)l=l.nextSibling;for(i!=l&&(!n&&o.moveBefore&&i.parentNode?o.moveBefore(i,t):o.insertBefore(i,t||null)),t=i;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function Oa(e,t,o,n){var r,s=e.key,i=e.type,l=t[o],c=l&&!(2&l.__u);if(l===null&&s==null||c&&s==l.key&&i==l.type)return o;if(n>(c?1:0)){for(r=o-1;r>=0;r--)if((l=t[r])&&!(2&l.__u)&&s==l.key&&i==l.type)return r;for(r=o+1;r<t.length;r++)if((l=t[r])&&!(2&l.__u)&&s==l.key&&i==l.type)return r}return-1}function nn(e,t,o){o==null&&(o=""),t[0]=="-"?e.setProperty(t,o):e[t]=o}function kt(e,t,o,n,r){var s,i;if(t=="style")if(typeof o=="string")e.style.cssText=o;else{if(typeof n=="string"&&(e.style.cssText=n=""),n)for(t in n)o&&t in o||nn(e.style,t);if(o)for(t in o)n&&o[t]==n[t]||nn(e.style,t,o[t])}else if(t[0]=="o"&&t[1]=="n")typeof o!="function"&&(o=null),typeof n!="function"&&(n=null),(e.__e||(e.__e={}))[t]=o,o&&n||(i=ao[t]||(ao[t]=Da(t)),(e.__a||(e.__a={}))[t]=lo,s=t!=(t=t.replace(an,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),o?e.addEventListener(t,i,s):e.removeEventListener(t,i,s));else{if(r=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="colSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=o??"")}catch{}if(typeof o=="function")return;o==null||o===!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&o==1?"":o)}}function Da(e){return function(t){var o=this.__e;if(o){if(o=o[e],t[xt]==null)t[xt]=lo++;else if(t[xt]<this.__a[e])return;return o(R.event?R.event(t):t)}}}function uo(e,t,o,n,r,s,i,l,c,d){var u,m,p,f,h,_,g,E,v,w,k,D,L,ee,he,tn,ke,Te,ge=t.type;if(t.constructor!==Ze)return null;128&o.__u&&(c=32&o.__u,u=o.__c.__z)&&(t.__u|=c,m=s=[],u.nodeType==8?l=St(u,s):s.push(u),l=s[0]||l),(u=R.__b)&&u(t);e:if(typeof ge=="function"){p=i.length;try{if(E=t.props,v=(u=ge.prototype)&&u.render,w=(u=ge.contextType)&&n[u.__c],k=u?w?w.props.value:u.__:n,(f=o.__c)?(t.__c=f,2&f.__g&&(f.__g|=1)):(v?t.__c=f=new ge(E,k):(t.__c=f=new Ue(E,k),f.constructor=ge,f.render=Pa),w&&w.sub(f),f.state||(f.state={}),f.__n=n,f.__g|=8,f.__h=[],f.__k=[]),v&&(f.__s||(f.__s=f.state),ge.getDerivedStateFromProps&&(f.__s==f.state&&(f.__s=Se({},f.__s)),Se(f.__s,ge.getDerivedStateFromProps(E,f.__s)))),h=f.props,_=f.state,f.__v=t,o.__c){if(E!==h&&v&&!ge.getDerivedStateFromProps&&f.componentWillReceiveProps&&f.componentWillReceiveProps(E,k),t.__v==o.__v&&!(8&f.__g)||!(4&f.__g)&&f.shouldComponentUpdate&&f.shouldComponentUpdate(E,f.__s,k)===!1){t.__v!=o.__v&&(f.props=E,f.state=f.__s,f.__g&=-9),t.__e=o.__e,t.__k=o.__k,t.__k.some(function(le){le&&(le.__=t)}),Tt.push.apply(f.__h,f.__k),f.__k=[],f.__h.length&&i.push(f),l=Ce(o);break e}f.componentWillUpdate&&f.componentWillUpdate(E,f.__s,k),v&&f.componentDidUpdate&&f.__h.push(function(){f.componentDidUpdate(h,_,g)})}else v&&!ge.getDerivedStateFromProps&&f.componentWillMount&&f.componentWillMount(),v&&f.componentDidMount&&f.__h.push(f.componentDidMount);f.context=k,f.props=E,f.__P=e,f.__g&=-5,D=R.__r,L=v?25:0;do f.__g&=-9,D&&D(t),u=f.render(f.props,f.state=f.__s,f.context);while(8&f.__g&&++L<25);v&&(Tt.push.apply(f.__h,f.__k),f.__k=[]),f.state=f.__s,f.getChildContext&&(n=Se({},n,f.getChildContext())),v&&o.__c&&f.getSnapshotBeforeUpdate&&(g=f.getSnapshotBeforeUpdate(h,_)),ee=u&&u.type===Re&&u.key==null?u.props.children:u,E.__P&&(u=l,r=(e=E.__P).namespaceURI,c=s=null,o.props&&o.props.__P!=e&&(o.__k.some(function(le){le&&mo(le,le)}),o.__k=null),l=o.__k?Ce(o,0):null),l=dn(e,co(ee)?ee:[ee],t,o,n,r,s,i,l,c,d),E.__P&&(t.__e=null,l=u),t.__u&=-161,m&&m.some(Ae),f.__h.length&&i.push(f),1&f.__g&&(f.__g&=-4)}catch(le){if(i.length=p,t.__v=null,c||s)if(le&&le.then){if(t.__u|=128|c,s){for(~(ke=s.indexOf(l||void 0))||(ke=s.length);(Te=s[ke-1])&&Te.nodeType==8;)ke--;for(;ke<s.length;ke++)if(Te=s[ke])if(s[ke]=null,he){if(Te==tn)break}else{if(Te.nodeType!=8)break;Te.data.startsWith("$s")&&(tn=St(he=Te))}}if(!he){for(;l&&l.nodeType==8&&l.nextSibling;)l=l.nextSibling;he=l}(u=St(he=t.__c.__z||(t.__c.__z=he)))?(t.__e=he,l=u):t.__e=l,l=l&&l.nextSibling}else s&&s.some(Ae);else t.__e=o.__e;t.__k||(t.__k=o.__k||[]),le&&le.then||mn(t),R.__e(le,t,o)}}else l=t.__e=Na(o.__e,t,o,n,r,s,i,c,d,e);return(u=R.diffed)&&u(t),l}function St(e,t){if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var o=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))o++;else if(e.data.startsWith("/$s")&&!--o)return e}t&&t.push(e)}}function mn(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.some(mn))}function pn(e,t,o){for(var n=0;n<o.length;)fo(o[n++],o[n++],o[n++]);R.__c&&R.__c(t,e),e.some(function(r){try{e=r.__h,r.__h=[],e.some(function(s){s.call(r)})}catch(s){R.__e(s,r.__v)}})}function Na(e,t,o,n,r,s,i,l,c,d){var u,m,p,f,h,_,g,E,v=o.props||Et,w=t.props,k=t.type;if(k=="svg"?r="http://www.w3.org/2000/svg":k=="math"?r="http://www.w3.org/1998/Math/MathML":r||(r="http://www.w3.org/1999/xhtml"),s){for(u=0;u<s.length;u++)if((h=s[u])&&(k?h.localName==k:h.nodeType==3)){e=h,s[u]=null;break}}if(!e){if(E=d.ownerDocument||document,!k)return E.createTextNode(w);e=E.createElementNS(r,k,w.is?w:d),l&&(R.__m&&R.__m(t,s),l=!1),s=null}if(k){if(d=k=="template"&&e.content||e,s=k=="textarea"&&w.defaultValue!=null?null:s&&At.call(d.childNodes),!l&&s)for(v={},u=0;u<e.attributes.length;u++)v[(h=e.attributes[u]).name]=h.value;for(u in v)h=v[u],u=="dangerouslySetInnerHTML"?p=h:u=="children"||u in w||u=="value"&&"defaultValue"in w||u=="checked"&&"defaultChecked"in w||kt(e,u,null,h,r);for(u in w)h=w[u],u=="children"?f=h:u=="dangerouslySetInnerHTML"?m=h:u=="value"?_=h:u=="checked"?g=h:l&&typeof h!="function"||v[u]===h||kt(e,u,h,v[u],r);m?(l||p&&(m.__html==p.__html||m.__html==e.innerHTML)||(e.innerHTML=m.__html),t.__k=[]):(p&&(e.textContent=""),(k=="foreignObject"||r=="http://www.w3.org/1998/Math/MathML"&&Aa.test(k))&&(r="http://www.w3.org/1999/xhtml"),dn(d,co(f)?f:[f],t,o,n,r,s,i,s?s[0]:o.__k&&Ce(o,0),l,c),s&&s.some(Ae)),l&&k!="textarea"||(u="value",k=="progress"&&_==null?e.removeAttribute(u):_==null||_===e[u]&&(k!="progress"||_)||kt(e,u,_,v[u],r),u="checked",g!=null&&g!=e[u]&&kt(e,u,g,v[u],r))}else v===w||l&&e.data==w||(e.data=w);return e}function fo(e,t,o,n){try{typeof e=="function"?t?t.__x=e(t)||1:n&&(n=n.__c||n.__e)&&(t=n.__x)&&(n.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(r){R.__e(r,o)}}function mo(e,t,o){var n,r,s,i;if(R.unmount&&R.unmount(e),!(n=e.ref)||n.current&&n.current!=e.__e||fo(n,null,t,e),n=e.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(l){R.__e(l,t)}n.__P=n.__n=null}if(n=e.__k)for(i=0;i<n.length;i++)n[i]&&mo(n[i],t,typeof e.type!="function"||o&&!e.props.__P);!o&&(n=e.__c)&&(n=n.__z)&&(r=St(n,s=[]))&&(n==e.__e&&s.some(Ae),Ae(r),Ae(n)),o||Ae(e.__e),e.__e=e.__c=e.__=null}function Pa(e,t,o){return this.constructor(e,o)}function $n(e,t){var o,n,r,s;R.__&&R.__(e,t),t.nodeType==9&&(t=t.documentElement),n=(o=e&&32&e.__u)?null:t.__k,t.__k=Me(Re,{children:[e]}),r=[],s=[],uo(t,t.__k,n||Et,Et,t.namespaceURI,n?null:t.firstChild?At.call(t.childNodes):null,r,n?n.__e:t.firstChild,o,s),pn(r,t.__k,s),t.__k.props.children=null}R={__e:function(e,t,o,n){for(var r,s,i;t=t.__;)if((r=t.__c)&&!(1&r.__g)){r.__g|=4;try{if((i=(s=r.constructor)&&s.getDerivedStateFromError)&&r.setState(s.getDerivedStateFromError(e)),r.componentDidCatch&&(r.componentDidCatch(e,n||{}),i=1),i&&8&r.__g)return void(r.__g|=2)}catch(l){e=l}}throw Ct=0,e}},rn=0,io=function(e){return e!=null&&e.constructor===Ze},Ue.prototype.setState=function(e,t){var o=this.__s;o&&o!=this.state||(o=this.__s=Se({},this.state)),typeof e=="function"&&(e=e(Se({},o),this.props)),e&&(Se(o,e),this.__v&&(t&&this.__k.push(t),on(this)))},Ue.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(e),on(this))},Ue.prototype.render=Re,xe=[],Ct=0,sn=function(e,t){return e.__v.__b-t.__v.__b},xt=Symbol(),an=/(PointerCapture)$|Capture$/i,lo=0,ao={},Ta=0;var Le,F,po,hn,$o=Object.is,tt=0,Sn=[],ho=[],q=R,gn=q.__b,bn=q.__r,_n=q.diffed,vn=q.__c,yn=q.unmount,wn=q.__;function ot(e,t){q.__h&&q.__h(F,e,tt||t),tt=0;var o=F.__H||(F.__H={__:[],__h:[]});return e>=o.__.length&&o.__.push({}),o.__[e]}function $(e){return tt=1,Ia(Cn,e)}function Ia(e,t,o){var n=ot(Le++,2);if(n.t=e,!n.__c&&(n.__=[o?o(t):Cn(void 0,t),function(s){var i=(n.__N||n.__)[0],l=n.t(i,s);$o(i,l)||(n.__N=[l,n.__[1]],n.__c.setState({}))}],n.__c=F,!F.__f)){F.__f=!0;var r=F.shouldComponentUpdate;F.shouldComponentUpdate=function(s,i,l){var c=this.__H;if(!c)return!0;var d=!1,u=this.props!=s;if(c.__.some(function(p){p.__N&&(d=!0,$o(p.__[0],p.__N[0])||(u=!0))}),r){var m=r.call(this,s,i,l);return d?m||u:m}return!d||u}}return n.__}function b(e,t){var o=ot(Le++,3);!q.__s&&bo(o.__H,t)&&(o.__P=!0,o.__=e,o.u=t,F.__H.__h.push(o))}function Lt(e,t){var o=ot(Le++,4);!q.__s&&bo(o.__H,t)&&(o.__P=!1,o.__=e,o.u=t,F.__h.push(o))}function A(e){return tt=5,J(function(){return{current:e}},[])}function J(e,t){var o=ot(Le++,7);return bo(o.__H,t)&&(o.__=e(),o.__H=t),o.__}function Ot(e,t){return tt=8,J(function(){return e},t)}function fe(){var e=ot(Le++,11);if(!e.__){for(var t=F.__v;!t.__m&&t.__;)t=t.__;var o=t.__m||(t.__m=[0,0]);e.__="P"+o[0]+"-"+o[1]++}return e.__}function ja(){var e;do{for(;e=ho.shift();)try{et(e)}catch(o){q.__e(o,{__:(e=e.__P)&&e.__v})}for(;e=Sn.shift();){var t=e.__H;if(e.__P&&t)try{t.__h.some(et),t.__h.some(go),t.__h=[]}catch(o){t.__h=[],q.__e(o,e.__v)}}}while(ho.length)}q.__b=function(e){F=null,gn&&gn(e)},q.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),wn&&wn(e,t)},q.__r=function(e){bn&&bn(e),Le=0;var t=(F=e.__c).__H;t&&(po==F?F.__h=[]:(t.__h.some(et),t.__h.some(go),Le=0),t.__h=[],t.__.some(function(o){o.__N&&(o.__=o.__N),o.u=o.__N=void 0})),po=F},q.diffed=function(e){_n&&_n(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&xn(Sn.push(t)),t.__H.__.some(function(o){o.u&&(o.__H=o.u)})),po=F=null},q.__c=function(e,t){t.some(function(o){try{o.__h.some(et),o.__h=o.__h.filter(function(n){return!n.__||go(n)})}catch(n){o.__h=[function(){throw n}]}}),vn&&vn(e,t)},q.unmount=function(e){yn&&yn(e);var t,o,n=e.__c;n&&n.__H&&(n.__H.__.some(function(r){try{if(r.__P&&r.__c){if(o===void 0){for(o=e.__;o&&(!o.__c||!o.__c.__P);)o=o.__;o=o&&o.__c}r.__P=o,xn(ho.push(r))}else et(r)}catch(s){t=s}}),n.__H=void 0,t&&q.__e(t,n.__v))};var kn=typeof requestAnimationFrame=="function";function Ma(e){var t,o=function(){clearTimeout(n),kn&&cancelAnimationFrame(t),setTimeout(e)},n=setTimeout(o,35);kn&&(t=requestAnimationFrame(o))}function xn(e){e!=1&&hn==q.requestAnimationFrame||((hn=q.requestAnimationFrame)||Ma)(ja)}function et(e){var t=F,o=e.__c;typeof o=="function"&&(e.__c=void 0,o()),F=t}function go(e){var t=F;e.__c=e.__(),F=t}function bo(e,t){return!e||e.length!=t.length||t.some(function(o,n){return!$o(o,e[n])})}function Cn(e,t){return typeof t=="function"?t(e):t}var Ua=Symbol.for("preact-signals");function It(){if(be>1)be--;else{var e,t=!1;for((function(){var r=Nt;for(Nt=void 0;r!==void 0;){var s=r.S;if(s.v===r.v)for(var i=s.t;i!==void 0;i=i.x)i.i===r.i&&(i.i=s.i);r=r.o}})();rt!==void 0;){var o=rt;for(rt=void 0,Dt++;o!==void 0;){var n=o.u;if(o.u=void 0,o.f&=-3,!(8&o.f)&&Tn(o))try{o.c()}catch(r){t||(e=r,t=!0)}o=n}}if(Dt=0,be--,t)throw e}}function Oe(e){if(be>0)return e();_o=++qa,be++;try{return e()}finally{It()}}var nt,M=void 0;function st(e){var t=M,o=nt;M=void 0,nt=void 0;try{return e()}finally{M=t,nt=o}}var rt=void 0,be=0,Dt=0,qa=0,_o=0,Nt=void 0,Pt=0;function En(e){if(M!==void 0){var t=e.n;if(t===void 0||t.t!==M)return t={i:0,S:e,p:M.s,n:void 0,t:M,e:void 0,x:void 0,r:t},M.s!==void 0&&(M.s.n=t),M.s=t,e.n=t,32&M.f&&e.S(t),t;if(t.i===-1)return t.i=0,t.n!==void 0&&(t.n.p=t.p,t.p!==void 0&&(t.p.n=t.n),t.p=M.s,t.n=void 0,M.s.n=t,M.s=t),t}}function G(e,t){this.v=e,this.i=0,this.n=void 0,this.t=void 0,this.l=0,this.W=t?.watched,this.Z=t?.unwatched,this.name=t?.name}G.prototype.brand=Ua;G.prototype.h=function(){return!0};G.prototype.S=function(e){var t=this,o=this.t;o!==e&&e.e===void 0&&(e.x=o,this.t=e,o!==void 0?o.e=e:st(function(){var n;(n=t.W)==null||n.call(t)}))};G.prototype.U=function(e){var t=this;if(this.t!==void 0){var o=e.e,n=e.x;o!==void 0&&(o.x=n,e.e=void 0),n!==void 0&&(n.e=o,e.x=void 0),e===this.t&&(this.t=n,n===void 0&&st(function(){var r;(r=t.Z)==null||r.call(t)}))}};G.prototype.subscribe=function(e){var t=this;return Ne(function(){var o=t.value;st(function(){return e(o)})},{name:"sub"})};G.prototype.valueOf=function(){return this.value};G.prototype.toString=function(){return this.value+""};G.prototype.toJSON=function(){return this.value};G.prototype.peek=function(){var e=this;return st(function(){return e.value})};Object.defineProperty(G.prototype,"value",{get:function(){var e=En(this);return e!==void 0&&(e.i=this.i),this.v},set:function(e){if(e!==this.v){if(Dt>100)throw new Error("Cycle detected");(function(o){be!==0&&Dt===0&&o.l!==_o&&(o.l=_o,Nt={S:o,v:o.v,i:o.i,o:Nt})})(this),this.v=e,this.i++,Pt++,be++;try{for(var t=this.t;t!==void 0;t=t.x)t.t.N()}finally{It()}}}});function x(e,t){return new G(e,t)}function Tn(e){for(var t=e.s;t!==void 0;t=t.n)if(t.S.i!==t.i||!t.S.h()||t.S.i!==t.i)return!0;return!1}function An(e){for(var t=e.s;t!==void 0;t=t.n){var o=t.S.n;if(o!==void 0&&(t.r=o),t.S.n=t,t.i=-1,t.n===void 0){e.s=t;break}}}function Rn(e){for(var t=e.s,o=void 0;t!==void 0;){var n=t.p;t.i===-1?(t.S.U(t),n!==void 0&&(n.n=t.n),t.n!==void 0&&(t.n.p=n)):o=t,t.S.n=t.r,t.r!==void 0&&(t.r=void 0),t=n}e.s=o}function De(e,t){G.call(this,void 0,t),this.x=e,this.s=void 0,this.g=Pt-1,this.f=4}De.prototype=new G;De.prototype.h=function(){if(this.f&=-3,1&this.f)return!1;if((36&this.f)==32||(this.f&=-5,this.g===Pt))return!0;if(this.g=Pt,this.f|=1,this.i>0&&!Tn(this))return this.f&=-2,!0;var e=M;try{An(this),M=this;var t=this.x();(16&this.f||this.v!==t||this.i===0)&&(this.v=t,this.f&=-17,this.i++)}catch(o){this.v=o,this.f|=16,this.i++}return M=e,Rn(this),this.f&=-2,!0};De.prototype.S=function(e){if(this.t===void 0){this.f|=36;for(var t=this.s;t!==void 0;t=t.n)t.S.S(t)}G.prototype.S.call(this,e)};De.prototype.U=function(e){if(this.t!==void 0&&(G.prototype.U.call(this,e),this.t===void 0)){this.f&=-33;for(var t=this.s;t!==void 0;t=t.n)t.S.U(t)}};De.prototype.N=function(){if(!(2&this.f)){this.f|=6;for(var e=this.t;e!==void 0;e=e.x)e.t.N()}};Object.defineProperty(De.prototype,"value",{get:function(){if(1&this.f)throw new Error("Cycle detected");var e=En(this);if(this.h(),e!==void 0&&(e.i=this.i),16&this.f)throw this.v;return this.v}});function at(e,t){return new De(e,t)}function Ln(e){var t=e.j;if(e.j=void 0,typeof t=="function"){be++;var o=M;M=void 0;try{t()}catch(n){throw e.f&=-2,e.f|=8,vo(e),n}finally{M=o,It()}}}function vo(e){for(var t=e.s;t!==void 0;t=t.n)t.S.U(t);e.x=void 0,e.s=void 0,Ln(e)}function Fa(e){if(M!==this)throw new Error("Out-of-order effect");Rn(this),M=e,this.f&=-2;try{8&this.f&&vo(this)}finally{It()}}function qe(e,t){this.x=e,this.j=void 0,this.s=void 0,this.u=void 0,this.f=32,this.name=t?.name,nt&&nt.push(this)}qe.prototype.c=function(){var e=this.S();try{if(8&this.f||this.x===void 0)return;var t=this.x();typeof t=="function"&&(this.j=t)}finally{e()}};qe.prototype.S=function(){if(1&this.f)throw new Error("Cycle detected");this.f|=1,this.f&=-9,Ln(this),An(this),be++;var e=M;return M=this,Fa.bind(this,e)};qe.prototype.N=function(){2&this.f||(this.f|=2,this.u=rt,rt=this)};qe.prototype.d=function(){this.f|=8,1&this.f||vo(this)};qe.prototype.dispose=function(){this.d()};function Ne(e,t){var o=new qe(e,t);try{o.c()}catch(r){throw o.d(),r}var n=o.d.bind(o);return n[Symbol.dispose]=n,n}var On,lt,jt,Wa=typeof window<"u"&&!!window.__PREACT_SIGNALS_DEVTOOLS__;var Dn=[];Ne(function(){On=this.N})();function Fe(e,t){R[e]=t.bind(null,R[e]||function(){})}function it(e){if(jt){var t=jt;jt=void 0,t()}jt=e&&e.S()}function Nn(e){var t=this,o=e.data,n=ct(o);n.name="ReactiveDom",n.value=o;var r=J(function(){for(var l=t,c=t.__v;c=c.__;)if(c.__c){c.__c.__$f|=4;break}var d=at(function(){var f=n.value.value;return f===0?0:f===!0?"":f||""}),u=at(function(){return!Array.isArray(d.value)&&!io(d.value)}),m=Ne(function(){if(this.N=Pn,u.value){var f=d.value;l.__v&&l.__v.__e&&l.__v.__e.nodeType===3&&(l.__v.__e.data=f)}}),p=t.__$u.d;return t.__$u.d=function(){m(),p.call(this)},[u,d]},[]),s=r[0],i=r[1];return s.value?i.peek():i.value}Nn.displayName="ReactiveTextNode";Object.defineProperties(G.prototype,{constructor:{configurable:!0,value:Rt(Re,null).constructor},type:{configurable:!0,value:Nn},props:{configurable:!0,get:function(){var e=this;return{data:{get value(){return e.value}}}}},__b:{configurable:!0,value:1}});Fe("__b",function(e,t){if(it(),lt=void 0,typeof t.type=="string"){var o,n=t.props;for(var r in n)if(r!=="children"){var s=n[r];s instanceof G&&(o||(t.__np=o={}),o[r]=s,n[r]=s.peek())}}e(t)});Fe("__r",function(e,t){if(e(t),t.type!==Re){it();var o,n=t.__c;n&&(n.__$f&=-2,(o=n.__$u)===void 0&&(n.__$u=o=(function(r,s){var i;return Ne(function(){i=this},{name:s}),i.c=r,i})((function(r){return function(){var s;Wa&&((s=this.y)==null||s.call(this)),r.__$f|=1,r.setState({})}})(n),typeof t.type=="function"?t.type.displayName||t.type.name:""))),lt=n,it(o)}});Fe("__e",function(e,t,o,n){it(),lt=void 0,e(t,o,n)});Fe("diffed",function(e,t){it(),lt=void 0;var o;if(typeof t.type=="string"&&(o=t.__e)){var n=t.__np,r=t.props,s=o.U;if(s)for(var i in s){var l=s[i];l===void 0||n&&i in n||(l.d(),s[i]=void 0)}if(n){s||(s={},o.U=s);for(var c in n){var d=s[c],u=n[c];d===void 0?(d=Ja(o,c,u,r),s[c]=d):d.o(u,r)}}}e(t)});function Ja(e,t,o,n){var r=t in e&&e.ownerSVGElement===void 0,s=x(o);return{o:function(i,l){s.value=i,n=l},d:Ne(function(){this.N=Pn;var i=s.value.value;n[t]!==i&&(n[t]=i,r?e[t]=i:i!=null&&(i!==!1||t[4]==="-")?e.setAttribute(t,i):e.removeAttribute(t))})}}Fe("unmount",function(e,t){if(typeof t.type=="string"){var o=t.__e;if(o){var n=o.U;if(n){o.U=void 0;for(var r in n){var s=n[r];s&&s.d()}}}var i=t.__np;if(i){var l=t.props;for(var c in i)l[c]=i[c]}t.__np=void 0}else{var d=t.__c;if(d){d.__$f|=8;var u=d.__$u;u&&(d.__$u=void 0,u.d())}}e(t)});Fe("__h",function(e,t,o,n){n<3&&(t.__$f|=2),e(t,o,n)});Ue.prototype.shouldComponentUpdate=function(e,t){if(this.__R)return!0;var o=this.__$u,n=o&&o.s!==void 0;for(var r in t)return!0;if(this.__f||typeof this.u=="boolean"&&this.u===!0){var s=2&this.__$f;if(!(n||s||4&this.__$f)||1&this.__$f)return!0}else if(!(n||4&this.__$f)||3&this.__$f)return!0;for(var i in e)if(i!=="__source"&&e[i]!==this.props[i])return!0;for(var l in this.props)if(!(l in e))return!0;return!1};function ct(e,t){return J(function(){return x(e,t)},[])}function yo(e,t){var o=A(e);return o.current=e,lt.__$f|=4,J(function(){return at(function(){return o.current()},t)},[])}var Ba=function(e){queueMicrotask(function(){queueMicrotask(e)})};function Ha(){Oe(function(){for(var e;e=Dn.shift();)On.call(e)})}function Pn(){Dn.push(this)===1&&(R.requestAnimationFrame||Ba)(Ha)}var jn=function(e,t,o,n){var r;t[0]=0;for(var s=1;s<t.length;s++){var i=t[s++],l=t[s]?(t[0]|=i?1:2,o[t[s++]]):t[++s];i===3?n[0]=l:i===4?n[1]=Object.assign(n[1]||{},l):i===5?(n[1]=n[1]||{})[t[++s]]=l:i===6?n[1][t[++s]]+=l+"":i?(r=e.apply(l,jn(e,l,o,["",null])),n.push(r),l[0]?t[0]|=2:(t[s-2]=0,t[s]=r)):n.push(l)}return n},In=new Map;function Mn(e){var t=In.get(this);return t||(t=new Map,In.set(this,t)),(t=jn(this,t.get(e)||(t.set(e,t=(function(o){for(var n,r,s=1,i="",l="",c=[0],d=function(p){s===1&&(p||(i=i.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?c.push(0,p,i):s===3&&(p||i)?(c.push(3,p,i),s=2):s===2&&i==="..."&&p?c.push(4,p,0):s===2&&i&&!p?c.push(5,0,!0,i):s>=5&&((i||!p&&s===5)&&(c.push(s,0,i,r),s=6),p&&(c.push(s,p,0,r),s=6)),i=""},u=0;u<o.length;u++){u&&(s===1&&d(),d(u));for(var m=0;m<o[u].length;m++)n=o[u][m],s===1?n==="<"?(d(),c=[c],s=3):i+=n:s===4?i==="--"&&n===">"?(s=1,i=""):i=n+i[0]:l?n===l?l="":i+=n:n==='"'||n==="'"?l=n:n===">"?(d(),s=1):s&&(n==="="?(s=5,r=i,i=""):n==="/"&&(s<5||o[u][m+1]===">")?(d(),s===3&&(c=c[0]),s=c,(c=c[0]).push(2,0,s),s=0):n===" "||n==="	"||n===`
`||n==="\r"?(d(),s=2):i+=n),s===3&&i==="!--"&&(s=4,c=c[0])}return d(),c})(e)),t),arguments,[])).length>1?t:t[0]}var a=Mn.bind(Rt);function _e({title:e,onClose:t,children:o,footer:n,wide:r=!1}){let s=A(null),i=fe();return b(()=>{let d=document.activeElement;return s.current.showModal(),()=>d?.isConnected&&d.focus()},[]),a`<dialog
ref=${s} class="dialog ${r?"dialog-wide":""}" aria-labelledby=${i} onCancel=${d=>{d.preventDefault(),t()}} onClick=${d=>d.target===s.current&&t()}
>
<div class="dialog-box">
<header class="dialog-header">
<h2 id=${i}>${e}</h2>
<button type="button" class="icon-button" aria-label="Close" onClick=${t}>×</button>
</header>
<div class="dialog-body">${o}</div>
${n&&a`<footer class="dialog-footer">${n}</footer>`}
</div>
</dialog>`}var ut=x(null);function oe({title:e,text:t,label:o,isDangerous:n=!1}){return ut.value?.answer(!1),new Promise(r=>{let s=i=>{ut.value=null,r(i)};ut.value={title:e,text:t,label:o,isDangerous:n,answer:s}})}function Un(){if(ut.value===null)return null;let{title:e,text:t,label:o,isDangerous:n,answer:r}=ut.value,s=a`
<button type="button" class="button" onClick=${()=>r(!1)}>Keep</button>
<button type="button" class="button ${n?"button-bad":"button-primary"}" onClick=${()=>r(!0)}>
${o}
</button>
`;return a`<${_e} title=${e} onClose=${()=>r(!1)} footer=${s}><p>${t}</p></>`}var qn=["generate","gallery","queue","job","fleet","loras","keys","tenants","webhooks"],wo=x(Wn(""));function S(e,t="",o={}){let n=t?`${e}/${encodeURIComponent(t)}`:e,r=new URLSearchParams(o).toString();return`#/${n}${r?`?${r}`:""}`}function se(e,t="",o={}){location.hash=S(e,t,o)}function Fn(){let e=()=>wo.value=Wn(location.hash);addEventListener("hashchange",e),e()}function Wn(e){let[t,o=""]=e.replace(/^#\/?/,"").split("?"),[n,r=""]=t.split("/");return{view:qn.includes(n)?n:qn[0],arg:Ga(r),query:Object.fromEntries(new URLSearchParams(o))}}function Ga(e){try{return decodeURIComponent(e)}catch{return e}}var ko={g:"generate",a:"gallery",q:"queue",f:"fleet",l:"loras",k:"keys",t:"tenants",w:"webhooks"},za=[["Ctrl + Enter","submit the form of the generate view"],["← →","turn over the images of a job"],["?","show this list"],["Esc","close a dialog"]],xo=x(!1);function So(){xo.value=!0}function Jn(){if(b(()=>{let o=!1,n=r=>{if(!(r.ctrlKey||r.metaKey||r.altKey||Va(r.target))&&!document.querySelector("dialog[open]")){if(r.key==="?")So();else if(o&&ko[r.key])se(ko[r.key]);else if(r.key==="g"){o=!0;return}o=!1}};return addEventListener("keydown",n),()=>removeEventListener("keydown",n)},[]),!xo.value)return null;let e=()=>xo.value=!1,t=[...Object.entries(ko).map(([o,n])=>[`g ${o}`,`go to ${n}`]),...za];return a`<${_e} title="Keyboard shortcuts" onClose=${e}>
<dl class="shortcuts">
${t.map(([o,n])=>a`<div key=${o}><dt>${o.split(" ").filter(r=>r!=="+").map(r=>a`<kbd>${r}</kbd>`)}</dt><dd>${n}</dd></div>`)}
</dl>
</>`}function Va(e){return e.isContentEditable||["INPUT","TEXTAREA","SELECT"].includes(e.tagName)}var Ka=8e3,dt=x([]),Xa=0;function T(e,t="info"){let o=Xa+=1;dt.value=[...dt.value.filter(n=>n.text!==e),{id:o,text:e,kind:t}],t!=="bad"&&setTimeout(()=>Bn(o),Ka)}function Co(){return a`<div class="toasts" role="status" aria-live="polite">
${dt.value.map(({id:e,text:t,kind:o})=>a`<div class="toast toast-${o}" key=${e}>
<p>${t}</p>
<button type="button" class="icon-button" aria-label="Close the message" onClick=${()=>Bn(e)}>×</button>
</div>`)}
</div>`}function Bn(e){dt.value=dt.value.filter(t=>t.id!==e)}var We=x("lost"),Gn=["status","progress","done","reset","unauthorized"],Qa=3e3,Ya=6e4,Eo=new Map(Gn.map(e=>[e,new Set])),Ee=null,Mt=null,To=!1;function z(e,t){return Eo.get(e).add(t),()=>Eo.get(e).delete(t)}function zn(){To||(To=!0,document.addEventListener("visibilitychange",Kn),Ao())}function Vn(){To=!1,document.removeEventListener("visibilitychange",Kn),Ro()}function Ao(){Ro(),Ee=new EventSource("v1/events");let e=!1;Ee.onopen=()=>{We.value="open",e||Hn("reset",{}),e=!0},Ee.onerror=()=>{We.value="lost",Ee?.readyState===EventSource.CLOSED&&(Mt=setTimeout(Ao,Qa))};for(let t of Gn)Ee.addEventListener(t,o=>Hn(t,JSON.parse(o.data)))}function Ro(){clearTimeout(Mt),Ee?.close(),Ee=null,We.value="lost"}function Kn(){clearTimeout(Mt),document.hidden?Mt=setTimeout(Ro,Ya):Ee===null&&Ao()}function Hn(e,t){for(let o of Eo.get(e))o(t)}var Je={csrfToken:null,onUnauthorized:()=>{}},Pe=class extends Error{constructor(t,o={},n=null){super(o.detail||"the API does not answer"),this.status=t,this.code=o.code??"",this.detail=this.message,this.field=o.field??null,this.errors=o.errors??[],this.estimate=o.estimate??null,this.retryAfterS=n}};async function y(e,{method:t="GET",json:o,body:n,headers:r={},signal:s}={}){let i={Accept:"application/json, */*;q=0.8",...Qn(t),...r};o!==void 0&&(i["Content-Type"]="application/json",n=JSON.stringify(o));let l;try{l=await fetch(e,{method:t,body:n,headers:i,signal:s,credentials:"same-origin"})}catch(d){throw d.name==="AbortError"?d:new Pe(0)}let c=await Za(l);if(l.ok)return c;throw Zn(l.status,c,l.headers.get("Retry-After"))}function Xn(e,t,{headers:o={},onProgress:n=()=>{},signal:r}={}){return new Promise((s,i)=>{let l=new XMLHttpRequest;l.open("PUT",e);let c={"Content-Type":"application/octet-stream",...Qn("PUT"),...o};for(let[d,u]of Object.entries(c))l.setRequestHeader(d,u);l.upload.onprogress=d=>n(d.loaded,d.total),l.onerror=()=>i(new Pe(0)),l.onabort=()=>i(new DOMException("the upload was cancelled","AbortError")),l.onload=()=>{let d=Yn(l.responseText);l.status>=200&&l.status<300?s(d):i(Zn(l.status,d,l.getResponseHeader("Retry-After")))},r?.addEventListener("abort",()=>l.abort()),l.send(t)})}function Qn(e){return e==="GET"||!Je.csrfToken?{}:{"X-CSRF-Token":Je.csrfToken}}async function Za(e){if(e.status===204||e.status===304)return null;let t=e.headers.get("Content-Type")??"";return/json/.test(t)?Yn(await e.text()):e.ok?e.blob():{}}function Yn(e){try{return JSON.parse(e)}catch{return{}}}function Zn(e,t,o){return e===401&&Je.onUnauthorized(),new Pe(e,t??{},o?Number(o):null)}var ei="status,created_at,started_at,finished_at,queue_position,progress,model,prompt,images,error,warnings,priority,estimate",ti=50,tr=4,oi=50,ne=x(new Map),ni=x(null),ri=x(!1),Lo=new Set,or=null;function nr(){let e=[z("reset",()=>rr().catch(()=>{})),z("status",({job:t,status:o})=>{Y(o)&&er(t,{status:o}),(o!=="running"||!ne.value.has(t))&&Oo(t)}),z("progress",({job:t,step:o,total:n})=>er(t,{progress:{step:o,total:n}})),z("done",({job:t})=>Oo(t))];return()=>e.forEach(t=>t())}async function rr(){let e=await y(`v1/jobs?limit=${ti}&fields=${ei}`),t=e.next_cursor&&e.jobs.at(-1).created_at,o=[...ne.value.values()].filter(n=>t&&n.created_at<t);Ut([...e.jobs,...o]),o.filter(n=>Y(n.status)).slice(0,tr).forEach(n=>Oo(n.id)),ni.value=e.next_cursor,ri.value=!0}async function ft(e){try{let t=await y(`v1/jobs/${e}`),o={...t,model:t.request.model,prompt:t.request.prompt};return si(o),o}catch(t){if(t.status!==404)throw t;Ut([...ne.value.values()].filter(o=>o.id!==e));return}}async function Be(e){try{await y(`v1/jobs/${e}/cancel`,{method:"POST"})}catch(t){T(`The job was not cancelled: ${t.detail}`,"bad")}}async function sr(e){try{await y(`v1/jobs/${e}`,{method:"DELETE"})}catch(t){if(t.status!==404)return T(`The job was not deleted: ${t.detail}`,"bad"),!1}return Ut([...ne.value.values()].filter(t=>t.id!==e)),!0}function Y(e){return e==="queued"||e==="running"}function ar(e){return`v1/jobs/${e.id}/preview?step=${e.progress?.step??0}`}function ae(e,t){return`v1/jobs/${e}/images/${t}`}function er(e,t){let o=ne.value.get(e);o&&(ne.value=new Map(ne.value).set(e,{...o,...t}))}function si(e){ne.value.has(e.id)?ne.value=new Map(ne.value).set(e.id,e):Ut([e,...ne.value.values()])}function Ut(e){e.sort((t,o)=>t.created_at<o.created_at?1:t.created_at>o.created_at?-1:0),ne.value=new Map(e.map(t=>[t.id,t]))}function Oo(e){Lo.add(e),or??=setTimeout(ai,oi)}async function ai(){let e=[...Lo];Lo.clear(),or=null;try{await(e.length>tr?rr():Promise.all(e.map(ft)))}catch{}}var W=x(void 0);function ce(e){let t=W.value?.scopes??[];return t.includes(e)||t.includes("admin")}async function Do(){Je.onUnauthorized=()=>qt(null);try{qt(await y("v1/session"))}catch(e){e.status!==401&&setTimeout(Do,2e3)}}async function ir(e){qt(await y("v1/session",{method:"POST",json:{key:e}}))}async function lr(){await y("v1/session",{method:"DELETE"}),qt(null)}function qt(e){Je.csrfToken=e?.csrf_token??null,W.value=e&&{...e,auth:e.key_id===null?"off":"keys"}}var No=["auto","light","dark"],cr="swiftdiffusion.theme",mt=x("auto");function ur(){let e=null;try{e=localStorage.getItem(cr)}catch{}fr(No.includes(e)?e:"auto")}function dr(e){fr(e);try{localStorage.setItem(cr,e)}catch{}}function fr(e){mt.value=e,e==="auto"?delete document.documentElement.dataset.theme:document.documentElement.dataset.theme=e}function U({title:e,children:t}){return a`<div class="empty">
<p class="empty-title">${e}</p>
<div class="empty-text">${t}</div>
</div>`}function N({error:e,onRetry:t}){return a`<div class="empty empty-bad" role="alert">
<p class="empty-title">${e.detail}</p>
${t&&a`<button type="button" class="button" onClick=${t}>Try again</button>`}
</div>`}function C({label:e,hint:t,error:o,hideLabel:n=!1,className:r="",children:s}){let i=fe(),l=Array.isArray(s)?s[0]:s,c=[t&&`${i}-hint`,o&&`${i}-error`].filter(Boolean).join(" ");return a`<div class="field ${r} ${o?"field-bad":""}">
<label for=${i} class=${n?"visually-hidden":"field-label"}>${e}</label>
${ln(l,{id:i,"aria-describedby":c||void 0,"aria-invalid":o?"true":void 0})}
${t&&a`<p class="field-hint" id="${i}-hint">${t}</p>`}
${o&&a`<p class="field-error" id="${i}-error">${o}</p>`}
</div>`}function V({options:e,value:t,onChange:o,...n}){let r=e.map(s=>Array.isArray(s)?s:[s,s]);return a`<select ...${n} value=${t} onChange=${s=>o(s.target.value)}>
${r.map(([s,i])=>a`<option key=${s} value=${s} selected=${s===t}>${i}</option>`)}
</select>`}function mr({label:e,checked:t,onChange:o,...n}){return a`<label class="checkbox">
<input type="checkbox" ...${n} checked=${t} onChange=${r=>o(r.target.checked)} />
<span>${e}</span>
</label>`}function He(e){let t=Object.fromEntries((e?.errors??[]).map(({field:o,detail:n})=>[o,n]));return e?.field&&!(e.field in t)&&(t[e.field]=e.detail),t}var pr=!0;function I({title:e,actions:t,children:o,className:n=""}){let r=A(null);return b(()=>{pr||r.current.focus(),pr=!1},[]),b(()=>{document.title=`${e} – swiftdiffusion`},[e]),a`<div class="page ${n}">
<header class="page-header">
<h1 ref=${r} tabindex="-1">${e}</h1>
${t&&a`<div class="page-actions">${t}</div>`}
</header>
${o}
</div>`}var ii={succeeded:"ok",running:"accent",queued:"muted",failed:"bad",cancelled:"warn"};function B({status:e,kind:t}){return a`<span class="status status-${t??ii[e]??"muted"}">${e}</span>`}function K({caption:e,columns:t,rows:o,keyOf:n=s=>s.id,empty:r}){if(!o.length&&r)return r;let s=(i,l)=>{let c=i.render?i.render(l):l[i.key],d=i.align==="end"?"cell-end":"";return i.isHeader?a`<th scope="row" key=${i.key} class=${d} data-label=${i.label}>${c}</th>`:a`<td key=${i.key} class=${d} data-label=${i.label}>${c}</td>`};return a`<div class="table-box">
<table class="table">
<caption class="visually-hidden">${e}</caption>
<thead>
<tr>${t.map(({key:i,label:l,align:c})=>a`<th scope="col" key=${i} class=${c==="end"?"cell-end":""}>${l}</th>`)}</tr>
</thead>
<tbody>
${o.map(i=>a`<tr key=${n(i)}>${t.map(l=>s(l,i))}</tr>`)}
</tbody>
</table>
</div>`}function Ft({view:e,label:t,tabs:o,current:n}){return a`<nav class="tabs" aria-label=${t}>
${o.map(([r,s])=>a`<a key=${r} href=${S(e,r)} aria-current=${r===n?"page":void 0}>${s}</a>`)}
</nav>`}function X({kind:e="muted",title:t,children:o}){return a`<span class="tag tag-${e}" title=${t}>${o}</span>`}function ie({label:e,children:t,none:o="none"}){let n=[t].flat(1/0).filter(Boolean);return n.length?a`<ul class="tags" aria-label=${e}>${n.map((r,s)=>a`<li key=${r.key??s}>${r}</li>`)}</ul>`:a`<span class="muted">${o}</span>`}var $r=["B","KB","MB","GB","TB"];function j(e){if(e==null||!Number.isFinite(e))return"–";if(e<1)return`${e.toFixed(2)} s`;if(e<10)return`${e.toFixed(1)} s`;if(e<60)return`${Math.round(e)} s`;let t=Math.floor(e/60);return t<60?`${t} min ${Math.floor(e%60)} s`:t<1440?`${Math.floor(t/60)} h ${t%60} min`:`${Math.floor(t/1440)} d ${Math.floor(t%1440/60)} h`}function Q(e){if(e==null)return"–";let t=0;for(;e>=1e3&&t<$r.length-1;)e/=1e3,t+=1;return`${t&&e<100?e.toFixed(1):Math.round(e)} ${$r[t]}`}function te(e){return e?new Date(e).toLocaleString(void 0,{dateStyle:"medium",timeStyle:"medium"}):"–"}function Ge(e){return e?`${j(Math.max(0,Math.round((Date.now()-new Date(e))/1e3)))} ago`:"–"}function Ie(e){return e==null?"–":`${Math.round(100*e)} %`}function Z(e,t){return`${e.toLocaleString()} ${t}${e===1?"":"s"}`}function O(e,{everyMs:t=0}={}){let[o,n]=$({data:null,error:null,isLoading:e!==null}),r=A(null),s=Ot(async()=>{if(e===null)return;r.current?.abort();let i=r.current=new AbortController;try{let l=await y(e,{signal:i.signal});n({data:l,error:null,isLoading:!1})}catch(l){if(l.name==="AbortError")return;n(c=>({data:c.data,error:l,isLoading:!1}))}},[e]);return b(()=>{s();let i=()=>!document.hidden&&s(),l=t?setInterval(i,t):null;return t&&document.addEventListener("visibilitychange",i),()=>{clearInterval(l),document.removeEventListener("visibilitychange",i),r.current?.abort()}},[s,t]),{...o,reload:s}}function hr(){let[e,t]=$(null),[o,n]=$(""),[r,s]=$(null),i=async(c,d)=>{try{let u=await y(`v1/audit?limit=100${c&&`&cursor=${c}`}`);t([...d,...u.acts]),n(u.next_cursor),s(null)}catch(u){s(u)}};if(b(()=>{i("",[])},[]),r&&!e)return a`<${N} error=${r} onRetry=${()=>i("",[])} />`;if(!e)return a`<p class="muted">Reading the log …</p>`;let l=a`<${U} title="Nothing yet">Changes of tenants, keys and public LoRAs, and logins of admins, appear here.</>`;return a`
<${K} caption="What admins have done" columns=${li} rows=${e} empty=${l} />
${o&&a`<div><button type="button" class="button" onClick=${()=>i(o,e)}>Older acts</button></div>`}
`}var li=[{key:"at",label:"When",render:e=>te(new Date(e.at*1e3).toISOString())},{key:"operation",label:"What",isHeader:!0,render:e=>e.operation.replaceAll("_"," ")},{key:"target",label:"On",render:e=>a`<code class="breakable">${e.target}</code>`},{key:"changes",label:"With",render:({changes:e})=>Object.keys(e).length?a`<code class="breakable">${ci(e)}</code>`:a`<span class="muted">–</span>`},{key:"who",label:"By",render:e=>a`${e.tenant} <span class="muted">${e.key_id??"without a key"} from ${e.client}</span>`},{key:"status",label:"Answer",render:e=>a`<${B} status=${e.status} kind=${e.status<400?"ok":"bad"} />`}];function ci(e){return Object.entries(e).map(([t,o])=>`${t} ${typeof o=="string"?o:JSON.stringify(o)}`).join(", ")}function je({title:e,label:t,save:o,fields:n,onClose:r,children:s}){let[i,l]=$(null),[c,d]=$(!1),u=fe(),m=He(i),p=async h=>{h.preventDefault(),d(!0);try{await o();return}catch(_){l(_)}d(!1)},f=a`
<button type="button" class="button" onClick=${r}>Cancel</button>
<button type="submit" form=${u} class="button button-primary" disabled=${c}>${t}</button>
`;return a`<${_e} title=${e} onClose=${r} footer=${f}>
<form id=${u} class="stack" onSubmit=${p} novalidate>
${s(m)}
${i&&!n.some(h=>m[h])&&a`<p class="field-error" role="alert">${i.detail}</p>`}
</form>
</>`}function ze({label:e,options:t,values:o,onChange:n,error:r}){let s=(i,l)=>n(t.map(([c])=>c).filter(c=>c===i?l:o.includes(c)));return a`<fieldset class="field ${r?"field-bad":""}">
<legend class="field-label">${e}</legend>
${t.map(([i,l])=>a`<label class="checkbox" key=${i}>
<input type="checkbox" checked=${o.includes(i)} onChange=${c=>s(i,c.target.checked)} />
<span>${l}</span>
</label>`)}
${r&&a`<p class="field-error">${r}</p>`}
</fieldset>`}var ui=[["jobs","jobs: submit and read jobs"],["loras","loras: read, upload and delete LoRAs"],["fleet","fleet: see workers and queues"],["metrics","metrics: read /metrics"],["admin","admin: everything, also tenants and keys"]],di=[["","never"],["1","in a day"],["30","in 30 days"],["90","in 90 days"],["365","in a year"]],fi=[["0","at once"],["3600","in an hour"],["86400","in a day"],["604800","in a week"]];function gr({tenant:e,onMade:t,onClose:o}){let[n,r]=$(""),[s,i]=$(["jobs","loras"]),[l,c]=$("");return a`<${je} title="New key of ${e}" label="Make the key" save=${async()=>{let u=l&&new Date(Date.now()+Number(l)*864e5).toISOString(),m=await y(`v1/tenants/${encodeURIComponent(e)}/keys`,{method:"POST",json:{name:n,scopes:s,...u&&{expires_at:u}}});t(m,`A key of the tenant ${e}. It is shown this once: only its hash is stored.`)}} fields=${["name","scopes","expires_at"]} onClose=${o}>
${u=>a`
<${C} label="Name" hint="for people: who or what uses it" error=${u.name}>
<input value=${n} maxlength="200" onInput=${m=>r(m.target.value)} />
</>
<${ze} label="Scopes" options=${ui} values=${s} onChange=${i} error=${u.scopes} />
<${C} label="Ends" error=${u.expires_at}><${V} options=${di} value=${l} onChange=${c} /></>
`}
</>`}function br({apiKey:e,onMade:t,onClose:o}){let[n,r]=$("3600"),s=async()=>{let i=`v1/tenants/${encodeURIComponent(e.tenant)}/keys/${e.id}/rotate`,l=await y(i,{method:"POST",json:{overlap_s:Number(n)}}),c=te(new Date(Date.now()+Number(n)*1e3).toISOString());t(l,`It takes the place of ${e.name||e.id}, which works until ${c}. It is shown this once.`)};return a`<${je} title="Rotate key ${e.name||e.id}" label="Make its successor" save=${s} fields=${["overlap_s"]} onClose=${o}>
${i=>a`
<p>A new key with the same name, scopes and end is made. Put it wherever the old one is used before that ends.</p>
<${C} label="The old key ends" error=${i.overlap_s}><${V} options=${fi} value=${n} onChange=${r} /></>
`}
</>`}var mi=2e3;function ve({text:e,label:t="Copy"}){let[o,n]=$(!1);return b(()=>{let s=o&&setTimeout(()=>n(!1),mi);return()=>clearTimeout(s)},[o]),a`<button type="button" class="button button-small" onClick=${async()=>{await pi(typeof e=="function"?e():e)?n(!0):T("The browser did not copy the text: select it and copy it yourself.","bad")}}>
<span aria-live="polite">${o?"Copied":t}</span>
</button>`}async function pi(e){try{return await navigator.clipboard.writeText(e),!0}catch{return $i(e)}}function $i(e){let t=document.createElement("textarea");t.value=e,t.className="visually-hidden";let o=document.activeElement;(document.querySelector("dialog[open]")??document.body).append(t),t.select();let n=document.execCommand("copy");return t.remove(),o?.focus(),n}function Wt(){return W.value.auth!=="off"?null:a`<p class="callout">
Authentication is off: everybody may do everything, as the tenant <strong>local</strong>. Keys and limits take effect when
the API runs with <code>SWIFT_AUTH=keys</code>.
</p>`}function Jt({title:e,secret:t,text:o,onClose:n}){let r=a`<button type="button" class="button" onClick=${n}>Done</button>`;return a`<${_e} title=${e} onClose=${n} footer=${r}>
<p>${o}</p>
<div class="secret">
<code>${t}</code>
<${ve} text=${t} />
</div>
</>`}var hi=[["","Keys"],["audit","Audit log"]];function _r({arg:e,query:t}){let o=a`<${Ft} view="keys" label="Parts of API keys" tabs=${hi} current=${e} />`;return e==="audit"?a`<${I} title="Audit log">${o}<${hr} /></>`:a`<${gi} tenant=${t.tenant??W.value.tenant} tabs=${o} />`}function gi({tenant:e,tabs:t}){let o=O("v1/tenants?limit=1000"),{data:n,error:r,reload:s}=O(`v1/tenants/${encodeURIComponent(e)}/keys`),[i,l]=$(null),c=(o.data?.tenants??[{id:e,name:""}]).map(({id:m,name:p})=>[m,p?`${m} – ${p}`:m]),d=(m,p)=>{s(),l({secret:m.key,text:p})},u=a`<button type="button" class="button button-primary" onClick=${()=>l({create:!0})}>New key</button>`;return a`<${I} title="API keys" actions=${u}>
${t}
<${Wt} />
<div class="admin-filter">
<${C} label="Tenant"><${V} options=${c} value=${e} onChange=${m=>se("keys","",{tenant:m})} /></>
</div>
${r&&a`<${N} error=${r} onRetry=${s} />`}
${n?.keys.length===0&&a`<${U} title="This tenant has no keys">Make one, and give it to whoever is to use the fleet as this tenant.</>`}
${n?.keys.length>0&&a`<${bi} keys=${n.keys} onRotate=${m=>l({rotate:m})} onChanged=${s} />`}
${i?.create&&a`<${gr} tenant=${e} onMade=${d} onClose=${()=>l(null)} />`}
${i?.rotate&&a`<${br} apiKey=${i.rotate} onMade=${d} onClose=${()=>l(null)} />`}
${i?.secret&&a`<${Jt} title="New API key" secret=${i.secret} text=${i.text} onClose=${()=>l(null)} />`}
</>`}function bi({keys:e,onRotate:t,onChanged:o}){return a`<${K} caption="API keys" columns=${[{key:"id",label:"Id",isHeader:!0,render:r=>a`<code>${r.id}</code>`},{key:"name",label:"Name",render:r=>r.name||a`<span class="muted">–</span>`},{key:"status",label:"Status",render:r=>a`<${B} ...${vi(r)} />`},{key:"scopes",label:"Scopes",render:r=>a`<${ie} label="Scopes of ${r.id}">${r.scopes.map(s=>a`<${X} key=${s} kind=${s==="admin"?"warn":"muted"}>${s}</>`)}</>`},{key:"created",label:"Created",render:r=>te(r.created_at)},{key:"expires",label:"Ends",render:r=>r.expires_at?te(r.expires_at):"never"},{key:"used",label:"Last used",render:r=>r.last_used_at?Ge(r.last_used_at):"not yet"},{key:"actions",label:"Actions",align:"end",render:r=>a`<${_i} apiKey=${r} onRotate=${t} onChanged=${o} />`}]} rows=${e} />`}function _i({apiKey:e,onRotate:t,onChanged:o}){if(vr(e))return null;let{id:n,tenant:r,name:s}=e;return a`<div class="row table-actions">
<button type="button" class="button button-small" aria-label="Rotate ${n}" onClick=${()=>t(e)}>Rotate</button>
<button type="button" class="button button-small button-bad" aria-label="Revoke ${n}" onClick=${async()=>{let c=`Whoever uses it is refused at once.${n===W.value.key_id?" You are logged in with this key: you will be logged out.":""}`;if(await oe({title:`Revoke key ${s||n}?`,text:c,label:"Revoke",isDangerous:!0})){try{await y(`v1/tenants/${r}/keys/${n}`,{method:"DELETE"}),T(`Key ${s||n} is revoked`,"ok")}catch(d){T(d.detail,"bad")}o()}}}>Revoke</button>
</div>`}function vr({revoked_at:e,expires_at:t}){return!!e||!!t&&new Date(t)<=Date.now()}function vi(e){return e.revoked_at?{status:"revoked",kind:"bad"}:vr(e)?{status:"expired",kind:"muted"}:{status:"active",kind:"ok"}}var yr=[["interactive","interactive"],["normal","normal"],["batch","batch"]],Bt=[["requests_per_s","Requests per second"],["max_waiting_jobs","Jobs that wait"],["max_running_jobs","Jobs that run"],["pixel_steps_per_day","Pixels × steps × images a day"],["lora_bytes","Bytes of own LoRAs"]],yi=["id","name","weight","priorities",...Bt.map(([e])=>`limits.${e}`)];function kr({tenant:e,onSaved:t,onClose:o}){let[n,r]=$(""),[s,i]=$(e?.name??""),[l,c]=$(String(e?.weight??1)),[d,u]=$(e?.priorities??yr.map(([h])=>h)),[m,p]=$(()=>Object.fromEntries(Bt.map(([h])=>[h,String(e?.limits[h]??"")]))),f=async()=>{let h=Object.fromEntries(Bt.map(([g])=>[g,wr(m[g])])),_={name:s,weight:wr(l),priorities:d,limits:h};e?await y(`v1/tenants/${e.id}`,{method:"PATCH",json:_}):await y("v1/tenants",{method:"POST",json:{id:n,..._}}),t()};return a`<${je} title=${e?`Tenant ${e.id}`:"New tenant"} label=${e?"Save":"Create"} save=${f} fields=${yi} onClose=${o}>
${h=>a`
${!e&&a`<${C} label="Id" hint="small letters, digits and hyphens; it is given once and never changes" error=${h.id}>
<input value=${n} maxlength="32" autocapitalize="none" spellcheck=${!1} onInput=${_=>r(_.target.value)} />
</>`}
<${C} label="Name" hint="for people" error=${h.name}>
<input value=${s} maxlength="200" onInput=${_=>i(_.target.value)} />
</>
<${C} label="Weight" hint="its share of the devices next to other tenants' weights" error=${h.weight}>
<input type="number" min="0" step="any" value=${l} onInput=${_=>c(_.target.value)} />
</>
<${ze} label="Priorities that its jobs may ask for" options=${yr} values=${d} onChange=${u} error=${h.priorities} />
<fieldset class="stack">
<legend class="field-label">Limits; empty: none</legend>
<div class="limits">
${Bt.map(([_,g])=>a`<${C} key=${_} label=${g} error=${h[`limits.${_}`]}>
<input type="number" min="0" step="1" value=${m[_]} onInput=${E=>p({...m,[_]:E.target.value})} />
</>`)}
</div>
</fieldset>
`}
</>`}function wr(e){return e===""?null:Number(e)}var xr=null;function Ht({data:e,series:t,axes:o,scales:n,label:r,height:s=160}){let i=A(null),l=A(null),c=A(e),[d,u]=$(null),m=mt.value;return c.current=e,b(()=>{xr??=import("./chart.js"),xr.then(p=>u(()=>p.default))},[]),b(()=>{if(!d)return;let p=i.current,f=()=>{l.current?.destroy(),l.current=new d(wi(d,p,{series:t,axes:o,scales:n,height:s}),c.current,p)};f();let h=new ResizeObserver(()=>l.current?.setSize({width:p.clientWidth,height:s}));h.observe(p);let _=matchMedia("(prefers-color-scheme: dark)");return _.addEventListener("change",f),()=>{h.disconnect(),_.removeEventListener("change",f),l.current.destroy(),l.current=null}},[d,m,t,o,n,s]),b(()=>l.current?.setData(e),[e]),a`<div class="plot" role="img" aria-label=${r} style=${{minHeight:`${s}px`}} ref=${i}></div>`}function wi(e,t,{series:o,axes:n,scales:r,height:s}){let i=f=>(t.style.color=`var(${f})`,getComputedStyle(t).color),l={bars:e.paths.bars({size:[.7,48]}),steps:e.paths.stepped({align:1})},c={stroke:i("--border"),width:1},d=`11px ${getComputedStyle(t).fontFamily}`,u=o.map(({color:f,kind:h,fill:_,scale:g})=>({...g&&{scale:g},stroke:i(f),width:1.5,points:{show:!1},paths:l[h],fill:_&&i(f).replace("rgb(","rgba(").replace(")",", 0.15)")})),m=f=>({stroke:i("--muted"),ticks:c,font:d,...f,grid:{...c,...f.grid}}),p={width:t.clientWidth,height:s,cursor:{show:!1},legend:{show:!1},scales:r,padding:[8,8,0,0],series:[{},...u],axes:n.map(m)};return t.style.color="",p}var Ve=86400,ki=[["7","7 days"],["30","30 days"],["90","90 days"]],xi=[{color:"--accent",kind:"bars",scale:"y",fill:!0}],Si=[{space:64,grid:{show:!1},size:28,values:(e,t)=>t.map(Ri)},{scale:"y",size:88,values:(e,t)=>t.map(o=>o?j(o):"0")}],Ci={x:{range:(e,t,o)=>[t-Ve/2,o+Ve/2]},y:{range:(e,t,o)=>[0,o*1.1||1]}};function Sr({query:e}){let t=e.days??"30",o=e.tenant??"",n=new Date(Date.now()-(Number(t)-1)*Ve*1e3).toISOString().slice(0,10),{data:r,error:s,reload:i}=O(`v1/usage?since=${n}${o&&`&tenant=${encodeURIComponent(o)}`}`),c=(O("v1/tenants?limit=1000").data?.tenants??[]).map(({id:m})=>m),d=[["","all"],...[...new Set([o,...c])].filter(Boolean).map(m=>[m,m])],u=m=>se("tenants","usage",{days:t,tenant:o,...m});return a`
<div class="admin-filter">
<${C} label="Tenant"><${V} options=${d} value=${o} onChange=${m=>u({tenant:m})} /></>
<${C} label="Period"><${V} options=${ki} value=${t} onChange=${m=>u({days:m})} /></>
</div>
${s&&a`<${N} error=${s} onRetry=${i} />`}
${r&&a`<${Ei} usage=${r.usage} since=${n} />`}
`}function Ei({usage:e,since:t}){let o=J(()=>Ai(e,t),[e,t]);if(!e.length)return a`<${U} title="Nothing was used in this time">Jobs count on the day on which they end.</>`;let n=o[1].reduce((i,l)=>i+l,0),r=Math.max(...o[1]),s=`Device time by day: ${j(n)} in all, ${j(r)} at most in a day`;return a`
<section class="card stack" aria-labelledby="device-time">
<h2 id="device-time">Device time by day: ${j(n)}</h2>
<${Ht} data=${o} series=${xi} axes=${Si} scales=${Ci} label=${s} />
</section>
<${K} caption="Usage by day and tenant" columns=${Ti} rows=${e} keyOf=${i=>`${i.day}/${i.tenant}`} />
`}var Ti=[{key:"day",label:"Day (UTC)",isHeader:!0},{key:"tenant",label:"Tenant"},{key:"jobs",label:"Jobs",align:"end",render:e=>e.jobs.toLocaleString()},{key:"device_seconds",label:"Device time",align:"end",render:e=>j(e.device_seconds)},{key:"images",label:"Images",align:"end",render:e=>e.images.toLocaleString()},{key:"image_bytes",label:"Image files",align:"end",render:e=>Q(e.image_bytes)}];function Ai(e,t){let o=Date.parse(t)/1e3,n=Math.floor((Date.now()/1e3-o)/Ve)+1,r=Array.from({length:n},(i,l)=>o+l*Ve),s=r.map(()=>0);for(let{day:i,device_seconds:l}of e){let c=Math.round((Date.parse(i)/1e3-o)/Ve);c in s&&(s[c]+=l)}return[r,s.map(i=>i||null)]}function Ri(e){return new Date(e*1e3).toLocaleDateString(void 0,{day:"numeric",month:"short",timeZone:"UTC"})}var Li=[["","Tenants"],["usage","Usage"]],Oi={requests_per_s:e=>`${e} requests/s`,max_waiting_jobs:e=>`${e.toLocaleString()} jobs waiting`,max_running_jobs:e=>`${e.toLocaleString()} running`,pixel_steps_per_day:e=>`${e.toLocaleString()} pixel steps/day`,lora_bytes:e=>`${Q(e)} of LoRAs`};function Cr({arg:e,query:t}){let o=a`<${Ft} view="tenants" label="Parts of tenants" tabs=${Li} current=${e} />`;return e==="usage"?a`<${I} title="Usage">${o}<${Sr} query=${t} /></>`:a`<${Di} tabs=${o} />`}function Di({tabs:e}){let{data:t,error:o,reload:n}=O("v1/tenants?limit=1000"),[r,s]=$(null),i=()=>{s(null),n()},l=a`<button type="button" class="button button-primary" onClick=${()=>s({})}>New tenant</button>`;return a`<${I} title="Tenants" actions=${l}>
${e}
<${Wt} />
${o&&a`<${N} error=${o} onRetry=${n} />`}
${t&&a`<${Ni} tenants=${t.tenants} onEdit=${s} onChanged=${n} />`}
${r&&a`<${kr} tenant=${r.id?r:null} onSaved=${i} onClose=${()=>s(null)} />`}
</>`}function Ni({tenants:e,onEdit:t,onChanged:o}){return a`<${K} caption="Tenants" columns=${[{key:"id",label:"Tenant",isHeader:!0,render:({id:r,name:s})=>a`<strong>${r}</strong>${s&&a`<br /><span class="muted">${s}</span>`}`},{key:"weight",label:"Weight",align:"end"},{key:"priorities",label:"Priorities",render:({priorities:r})=>r.join(", ")},{key:"limits",label:"Limits",render:({id:r,limits:s})=>a`<${ie} label="Limits of ${r}">${Pi(s)}</>`},{key:"actions",label:"Actions",align:"end",render:r=>a`<${Ii} tenant=${r} onEdit=${t} onChanged=${o} />`}]} rows=${e} />`}function Pi(e){return Object.entries(e).filter(([,o])=>o!==null).map(([o,n])=>a`<${X} key=${o}>${Oi[o]?.(n)??`${o} ${n}`}</>`)}function Ii({tenant:e,onEdit:t,onChanged:o}){let{id:n}=e,r=async()=>{if(await oe({title:`Delete tenant ${n}?`,text:"Its keys end at once. Its jobs are cancelled, and deleted with its images and LoRAs. The id is never given again.",label:"Delete",isDangerous:!0})){try{await y(`v1/tenants/${n}`,{method:"DELETE"}),T(`Tenant ${n} is deleted`,"ok")}catch(l){T(l.detail,"bad")}o()}},s=n==="local";return a`<div class="row table-actions">
<a class="button button-small" href=${S("keys","",{tenant:n})} aria-label="Keys of ${n}">Keys</a>
<a class="button button-small" href=${S("tenants","usage",{tenant:n})} aria-label="Usage of ${n}">Usage</a>
${!s&&a`<button type="button" class="button button-small" aria-label="Edit ${n}" onClick=${()=>t(e)}>Edit</button>
<button type="button" class="button button-small button-bad" aria-label="Delete ${n}" onClick=${r}>Delete</button>`}
</div>`}var ji={delivered:"ok",failed:"bad",pending:"accent"},Mi=50;function Er({id:e}){let t=`v1/webhooks/${encodeURIComponent(e)}`,[o,n]=$([""]),r=o.at(-1),s=O(e==="default"?null:t),{data:i,error:l,reload:c}=O(`${t}/deliveries?limit=${Mi}${r&&`&cursor=${encodeURIComponent(r)}`}`,{everyMs:3e3}),d=async p=>{try{let{replayed:f}=await y(`${t}/replay`,{method:"POST",json:p});T(f?`${Z(f,"delivery").replace("deliverys","deliveries")} sent again`:"No delivery has failed","ok")}catch(f){T(f.detail,"bad")}c()},u=a`
<a class="button" href=${S("webhooks")}>All webhooks</a>
<button type="button" class="button" onClick=${()=>d({})}>Send all failed again</button>
`,m=e==="default"?"webhooks of single jobs":s.data?.url??e;return a`<${I} title="Deliveries" actions=${u}>
<p class="muted">To ${m}, newest first.</p>
${l&&a`<${N} error=${l} onRetry=${c} />`}
${i?.deliveries.length===0&&a`<${U} title="Nothing was sent yet">A delivery appears here when a job reaches one of the webhook's events.</>`}
${i?.deliveries.length>0&&a`<${Ui} deliveries=${i.deliveries} showsUrl=${e==="default"} onReplay=${d} />`}
<div class="row">
${o.length>1&&a`<button type="button" class="button" onClick=${()=>n(o.slice(0,-1))}>Newer</button>`}
${i?.next_cursor&&a`<button type="button" class="button" onClick=${()=>n([...o,i.next_cursor])}>Older</button>`}
</div>
</>`}function Ui({deliveries:e,showsUrl:t,onReplay:o}){let n=[{key:"event",label:"Event",isHeader:!0},{key:"job",label:"Job",render:r=>a`<a class="mono" href=${S("job",r.job_id)}>${r.job_id}</a>`},...t?[{key:"url",label:"Address",render:({url:r})=>a`<span class="breakable">${r}</span>`}]:[],{key:"status",label:"Status",render:r=>a`<${B} status=${r.status} kind=${ji[r.status]} />`},{key:"attempts",label:"Attempts",align:"end"},{key:"answer",label:"Last answer",render:qi},{key:"tried",label:"Last attempt",render:r=>r.last_attempt_at?Ge(r.last_attempt_at):"not yet"},{key:"next",label:"Next attempt",render:r=>r.next_attempt_at?te(r.next_attempt_at):"–"},{key:"actions",label:"Actions",align:"end",render:r=>a`<button type="button" class="button button-small" aria-label="Send ${r.id} again" onClick=${()=>o({deliveries:[r.id]})}>Send again</button>`}];return a`<${K} caption="Deliveries" columns=${n} rows=${e} />`}function qi({response_status:e,error:t}){return e!==null?`HTTP ${e}`:t?a`<span class="delivery-error breakable">${t}</span>`:a`<span class="muted">none yet</span>`}var Tr=[["job.started","job.started: a worker has begun it"],["job.succeeded","job.succeeded"],["job.failed","job.failed"],["job.cancelled","job.cancelled"]];function Ar({webhook:e,onSaved:t,onClose:o}){let[n,r]=$(e?.url??""),[s,i]=$(e?.description??""),[l,c]=$(e?.events??Tr.slice(1).map(([u])=>u));return a`<${je}
title=${e?"Edit the webhook":"New webhook"} label=${e?"Save":"Create"} save=${async()=>{let u={url:n,description:s,events:l},m=e?`v1/webhooks/${e.id}`:"v1/webhooks";t(await y(m,{method:e?"PATCH":"POST",json:u}))}}
fields=${["url","description","events"]} onClose=${o}
>
${u=>a`
<${C} label="Address" hint="https:// or http://, of a host with a public address" error=${u.url}>
<input type="url" value=${n} placeholder="https://example.com/hooks" spellcheck=${!1} onInput=${m=>r(m.target.value)} />
</>
<${ze} label="Events" options=${Tr} values=${l} onChange=${c} error=${u.events} />
<${C} label="Description" hint="for people" error=${u.description}>
<input value=${s} maxlength="200" onInput=${m=>i(m.target.value)} />
</>
`}
</>`}var Lr="Its receiver verifies signatures with it.",Rr=`${Lr} It is shown this once.`;function Or({arg:e}){return e?a`<${Er} id=${e} />`:a`<${Fi} />`}function Fi(){let{data:e,error:t,reload:o}=O("v1/webhooks",{everyMs:1e4}),[n,r]=$(null),[s,i]=$(null),l=m=>{r(null),m.secret&&i({title:"Secret of the new webhook",secret:m.secret,text:Rr}),o()},c=async({id:m,url:p})=>{await oe({title:"Rotate the secret?",text:"A new secret is made. For a day both sign, so that the receiver can be changed meanwhile.",label:"Rotate"})&&await Gt(async()=>{let h=await y(`v1/webhooks/${m}/rotate`,{method:"POST"});i({title:`New secret of ${p??"jobs' own webhooks"}`,secret:h.secret,text:`${Rr} The old one signs until ${te(h.previous_expires_at)}, too.`})})},d=()=>Gt(async()=>{let m=await y("v1/webhooks/default/secret");i({title:"Secret of jobs' own webhooks",secret:m.secret,text:Lr})}),u=a`<button type="button" class="button button-primary" onClick=${()=>r({})}>New webhook</button>`;return a`<${I} title="Webhooks" actions=${u}>
<p class="muted">Events of all jobs of this tenant are sent to these addresses, signed as Standard Webhooks are.</p>
${t&&a`<${N} error=${t} onRetry=${o} />`}
${e&&a`<${Wi} webhooks=${e.webhooks} onEdit=${r} onRotate=${c} onChanged=${o} />`}
<section class="card stack" aria-labelledby="own">
<h2 id="own">Webhooks of single jobs</h2>
<p>A job that is submitted with a <code>webhook</code> of its own has its events sent there, signed with one secret for all of them.</p>
<div class="row">
<button type="button" class="button button-small" onClick=${d}>Show the secret</button>
<button type="button" class="button button-small" onClick=${()=>c({id:"default"})}>Rotate the secret</button>
<a class="button button-small" href=${S("webhooks","default")}>Deliveries</a>
</div>
</section>
${n&&a`<${Ar} webhook=${n.id?n:null} onSaved=${l} onClose=${()=>r(null)} />`}
${s&&a`<${Jt} ...${s} onClose=${()=>i(null)} />`}
</>`}function Wi({webhooks:e,onEdit:t,onRotate:o,onChanged:n}){let r=[{key:"url",label:"Address",isHeader:!0,render:({url:i,description:l})=>a`<span class="breakable">${i}</span>${l&&a`<br /><span class="muted">${l}</span>`}`},{key:"events",label:"Events",render:({id:i,events:l})=>a`<${ie} label="Events of ${i}">${l.map(c=>a`<${X} key=${c}>${c.replace("job.","")}</>`)}</>`},{key:"status",label:"Status",render:i=>a`<${B} ...${Bi(i)} />`},{key:"created",label:"Created",render:({created_at:i})=>te(i)},{key:"actions",label:"Actions",align:"end",render:i=>a`<${Ji} webhook=${i} onEdit=${t} onRotate=${o} onChanged=${n} />`}],s=a`<p class="card muted">No webhook yet: make one, and your own service is told when jobs start and end.</p>`;return a`<${K} caption="Webhooks" columns=${r} rows=${e} empty=${s} />`}function Ji({webhook:e,onEdit:t,onRotate:o,onChanged:n}){let{id:r,url:s,enabled:i}=e,l=()=>Gt(()=>y(`v1/webhooks/${r}`,{method:"PATCH",json:{enabled:!i}})).then(n),c=async()=>{await oe({title:`Delete the webhook to ${s}?`,text:"Nothing more is sent to it, and its list of deliveries is gone.",label:"Delete",isDangerous:!0})&&(await Gt(()=>y(`v1/webhooks/${r}`,{method:"DELETE"})),n())},d=(u,m,p="")=>a`<button type="button" class="button button-small ${p}" aria-label="${u} ${s}" onClick=${m}>${u}</button>`;return a`<div class="row table-actions">
<a class="button button-small" href=${S("webhooks",r)} aria-label="Deliveries to ${s}">Deliveries</a>
${d(i?"Disable":"Enable",l)}
${d("Edit",()=>t(e))}
${d("Rotate",()=>o(e))}
${d("Delete",c,"button-bad")}
</div>`}function Bi({enabled:e,disabled_reason:t}){return e?{status:"enabled",kind:"ok"}:t==="gone"?{status:"disabled: it answered 410",kind:"bad"}:{status:"disabled",kind:"muted"}}async function Gt(e){try{await e()}catch(t){T(t.detail,"bad")}}var Hi={model_short_of_devices:["short of devices","warn"],controlnet_short_of_devices:["short of devices","warn"],idle_device:["idle","muted"]};function Dr({fleet:e}){let{models:t,controlnets:o}=e.without_workers,n=e.workers.length?[...t.map(i=>["no worker","bad",`no worker takes jobs for model '${i}': they stay queued`]),...o.map(i=>["no worker","bad",`no worker may load ControlNet '${i}': its jobs fail`])]:[],r=e.advice.map(({kind:i,sentence:l})=>[...Hi[i]??["advice","muted"],l]),s=[...n,...r];return s.length?a`<section class="card stack" aria-labelledby="advice">
<h2 id="advice">Advice</h2>
<ul class="advice">
${s.map(([i,l,c])=>a`<li key=${c}><${B} status=${i} kind=${l} /><span>${Gi(c)}.</span></li>`)}
</ul>
</section>`:null}function Gi(e){return e[0].toUpperCase()+e.slice(1)}var zt={generate:{now:["generates","accent"],share:"own jobs"},follow:{now:["computes a branch","ok"],share:"branches of others' jobs"},serve:{now:["computes ControlNets","warn"],share:"ControlNets of others"},idle:{now:["idle","muted"],share:"idle"}};function Nr({worker:e}){let t=e.activity_shares,o=Object.keys(t).length?t:{generate:e.utilization,idle:1-e.utilization},n=Object.keys(zt).filter(r=>o[r]>.004);return a`<div class="activity">
<div class="activity-bar" aria-hidden="true">
${n.map(r=>a`<span key=${r} class="activity-${r}" style=${{width:`${100*o[r]}%`}}></span>`)}
</div>
<ul class="activity-text" aria-label="Shares of the last minute">
${n.map(r=>a`<li key=${r} class="activity-${r}">${Ie(o[r])} ${zt[r].share}</li>`)}
</ul>
</div>`}function Po(e){return e.split("@").slice(-3).join("@")}function Pr(e,t){let o=e.lora_inventory.find(r=>r.worker===t),n=r=>[...new Set(r.map(s=>Po(s).split("@")[0]))].sort();return{patched:n(o?.patched??[]),memory:n(o?.memory??[])}}function Ir(e){let t=new Map,o=(n,r,s)=>{t.has(n)||t.set(n,{patched:[],memory:[],disk:[]});let i=t.get(n)[r];i.includes(s)||i.push(s)};for(let{worker:n,patched:r,memory:s}of e?.lora_inventory??[]){for(let i of r)o(Po(i),"patched",n);for(let i of s)o(Po(i),"memory",n)}for(let[n,r]of Object.entries(e?.lora_disk_cache??{}))for(let s of r)o(s,"disk",n);return t}function Vt(e){return e.length?e.reduce((t,o)=>t+o.utilization,0)/e.length:0}function Io(e){return e.unavailable_reasons.length>0}function Mr({fleet:e}){return a`<section class="stack" aria-labelledby="workers">
<h2 id="workers">Workers</h2>
<ul class="workers">
${e.workers.map(t=>a`<li key=${t.name}><${zi} worker=${t} fleet=${e} /></li>`)}
</ul>
</section>`}function zi({worker:e,fleet:t}){let[o,n]=Io(e)?["takes no work","bad"]:zt[e.activity]?.now??["alive","muted"];return a`<article class="card worker" aria-labelledby="worker-${e.name}">
<header class="worker-header">
<h3 id="worker-${e.name}">${e.name}</h3>
<${B} status=${o} kind=${n} />
</header>
<p class="muted">
${e.kind==="unet"?"UNet worker":"ControlNet worker"} on ${e.host} · ${e.gpu??e.device} · up
${" "}${j(Math.max(0,Date.now()/1e3-e.started_at))} · version ${e.version}
</p>
<${Nr} worker=${e} />
<${Vi} worker=${e} />
<dl class="worker-facts">
<${Ki} worker=${e} />
<${jr} name="Models" serves=${e.kind==="unet"?e.serves:[]} loaded=${e.kind==="unet"?e.loaded:[]} />
<${jr}
name="ControlNets" serves=${e.kind==="unet"?e.served_controlnets:e.serves}
loaded=${e.kind==="unet"?e.loaded_controlnets:e.loaded}
/>
<${Xi} worker=${e} fleet=${t} />
<${Qi} worker=${e} />
<${Yi} worker=${e} />
</dl>
</article>`}function Vi({worker:e}){let t={...e.load_errors,...e.controlnet_load_errors},o=[...e.unavailable_reasons.map(n=>["bad",n]),...Object.entries(t).map(([n,r])=>["bad",`could not load ${n}: ${r}`]),...e.warnings.map(n=>["warn",n])];return o.length?a`<ul class="worker-problems">${o.map(([n,r])=>a`<li key=${r} class="problem-${n}">${r}</li>`)}</ul>`:null}function Ke({name:e,children:t}){return a`<div><dt>${e}</dt><dd>${t}</dd></div>`}function Ki({worker:e}){let t=Object.entries(e.attached_jobs).flatMap(([n,r])=>r.map(s=>[s,n])),o=n=>a`<a class="mono" href=${S("job",n)}>${n}</a>`;return a`
${e.kind==="unet"&&a`<${Ke} name="Job">${e.jobs.length?e.jobs.map(n=>a`<div key=${n}>${o(n)}</div>`):a`<span class="muted">none</span>`}</>`}
${(t.length>0||e.kind==="controlnet")&&a`<${Ke} name="Attached to">
${t.length?t.map(([n,r])=>a`<div key=${`${n}/${r}`}>${o(n)} <span class="muted">computes ${r}</span></div>`):a`<span class="muted">no job</span>`}
</>`}
`}function jr({name:e,serves:t,loaded:o}){return t.length?a`<${Ke} name=${e}>
<${ie} label=${e}>
${t.map(n=>o.includes(n)?a`<${X} key=${n} kind="ok" title="its weights are in memory">${n} loaded</>`:a`<${X} key=${n} title="loaded when a job needs it">${n}</>`)}
</>
</>`:null}function Xi({worker:e,fleet:t}){if(e.kind!=="unet")return null;let{patched:o,memory:n}=Pr(t,e.name);return a`<${Ke} name="LoRAs">
<${ie} label="LoRAs">
${o.map(r=>a`<${X} key=${`p${r}`} kind="accent" title="in the weights of its model">${r} in weights</>`)}
${n.filter(r=>!o.includes(r)).map(r=>a`<${X} key=${`m${r}`} title="parsed and in memory">${r} in memory</>`)}
</>
</>`}function Qi({worker:e}){let{device_total_bytes:t,device_free_bytes:o}=e;return t?a`<${Ke} name="GPU memory">
<meter min="0" max=${t} value=${t-(o??0)} aria-label="GPU memory in use"></meter>
${" "}${Q(t-(o??0))} of ${Q(t)} used${o===null?"":`, ${Q(o)} free`}
</>`:null}function Yi({worker:e}){let t=Object.entries(e.received_residuals).flatMap(([o,n])=>Object.entries(n).map(([r,s])=>[o,r,s]));return t.length?a`<${Ke} name="Residuals">
${t.map(([o,n,r])=>a`<div key=${o+n}>${r} from ${o} <span class="muted">${n.replaceAll("_"," ")}</span></div>`)}
</>`:null}var Ur=600,jo=x([]);function qr(e){let t=Date.now()/1e3,o=jo.value.filter(([n])=>n>t-Ur);jo.value=[...o,[t,e.jobs.queued,e.workers.length?Vt(e.workers):null]]}var Zi=[{color:"--accent",scale:"jobs",kind:"steps"},{color:"--ok",scale:"share",fill:!0}],el=[{space:72,size:28,values:(e,t)=>t.map(ol)},{scale:"jobs",size:44,incrs:[1,2,5,10,20,50,100,200,500,1e3,5e3,1e4]},{scale:"share",side:1,size:52,grid:{show:!1},values:(e,t)=>t.map(Ie)}],tl={x:{range:()=>[Date.now()/1e3-Ur,Date.now()/1e3]},jobs:{range:(e,t,o)=>[0,Math.max(4,Math.ceil((o??0)*1.1))]},share:{range:[0,1]}};function Fr(){let e=jo.value,t=[0,1,2].map(i=>e.map(l=>l[i])),[,o=0,n=null]=e.at(-1)??[],r=Math.max(0,...t[1]),s=`The last minutes: ${Z(o,"job")} waiting now, ${r} at most; devices busy for ${Ie(n)} of the last minute`;return a`<section class="card stack" aria-labelledby="history">
<header class="row chart-header">
<h2 id="history">Last ten minutes</h2>
<ul class="chart-legend">
<li class="chart-accent">Jobs waiting (left)</li>
<li class="chart-ok">Busy share of all devices (right)</li>
</ul>
</header>
<${Ht} data=${t} series=${Zi} axes=${el} scales=${tl} label=${s} />
<p class="muted">Collected by this page while it is open.</p>
</section>`}function ol(e){return new Date(e*1e3).toLocaleTimeString(void 0,{hour:"2-digit",minute:"2-digit"})}function Wr({fleet:e,models:t,controlnets:o}){let{queues:n,queued_steps:r}=e,s=Object.keys(n).filter(m=>m.startsWith("unet.")).map(m=>m.slice(5)),i=Object.fromEntries([...t,...o].map(m=>[m.name,m])),l={key:"workers",label:"Workers",render:({name:m})=>a`<${nl} entry=${i[m]} />`},c=[{key:"name",label:"Model",isHeader:!0},{key:"jobs",label:"Waiting jobs",align:"end",render:({name:m})=>n[`unet.${m}`]},{key:"follow",label:"Waiting for a second worker",align:"end",render:({name:m})=>n[`follow.${m}`]??0},{key:"encode",label:"Prompts to encode",align:"end",render:({name:m})=>n[`encode.${m}`]??0},l],d=[{key:"name",label:"ControlNet",isHeader:!0},{key:"steps",label:"Waiting steps",align:"end",render:({name:m})=>r?r[m]:"unknown"},{key:"attach",label:"Jobs to attach",align:"end",render:({name:m})=>n[`controlnet.${m}`]??0},l],u=Object.keys(n).filter(m=>m.startsWith("controlnet.")).map(m=>({name:m.slice(11)}));return a`
<section class="stack" aria-labelledby="models">
<h2 id="models">Queues by model</h2>
<${K} caption="Queues by model" columns=${c} rows=${s.map(m=>({name:m}))} keyOf=${m=>m.name} />
</section>
${u.length>0&&a`<section class="stack" aria-labelledby="controlnets">
<h2 id="controlnets">Queues by ControlNet</h2>
${r===null&&a`<p class="callout callout-warn">The residual Redis does not answer: nobody knows how many steps wait.</p>`}
<${K} caption="Queues by ControlNet" columns=${d} rows=${u} keyOf=${m=>m.name} />
</section>`}
`}function nl({entry:e}){if(!e)return a`<span class="muted">–</span>`;let t=Object.keys(e.load_errors);return a`<${ie} label="Workers of ${e.name}" none="no worker serves it">
${e.workers.map(o=>e.loaded.includes(o)?a`<${X} key=${o} kind="ok" title="its weights are in memory">${o} loaded</>`:a`<${X} key=${o}>${o}</>`)}
${t.map(o=>a`<${X} key=${o} kind="bad" title=${e.load_errors[o]}>${o} could not load it</>`)}
</>`}var rl=2e3;function Jr(){let e=O("v1/fleet",{everyMs:rl}),t=O("v1/models",{everyMs:1e4}),o=O("v1/controlnets",{everyMs:1e4}),{data:n,error:r}=e;if(b(()=>n&&qr(n),[n]),!n){let s=r?a`<${N} error=${r} onRetry=${e.reload} />`:a`<p class="muted">Reading the fleet …</p>`;return a`<${I} title="Fleet">${s}</>`}return a`<${I} title="Fleet" className="fleet">
${r&&a`<p class="callout callout-warn" role="status">This may be out of date: ${r.detail}.</p>`}
<${sl} fleet=${n} />
<${Dr} fleet=${n} />
${n.workers.length?a`<${Mr} fleet=${n} />`:a`<${al} />`}
<${Fr} />
<${Wr} fleet=${n} models=${t.data?.models??[]} controlnets=${o.data?.controlnets??[]} />
</>`}function sl({fleet:e}){let{workers:t,jobs:o}=e,n=t.filter(Io).length,r=[["Workers alive",t.length],...n?[["of them take no work",n]]:[],["Hosts",new Set(t.map(s=>s.host)).size],["Jobs running",o.running],["Jobs waiting",o.queued],["Busy, last minute",Ie(t.length?Vt(t):null)]];return a`<dl class="figures">
${r.map(([s,i])=>a`<div key=${s}><dt>${s}</dt><dd>${i}</dd></div>`)}
</dl>`}function al(){return a`<${U} title="No worker is alive">
<p>
Jobs are accepted and wait until one is. On one machine <code>make up</code> starts the whole fleet; a single
UNet worker starts with
</p>
<pre>celery -A workers.unet.app worker --pool=threads --concurrency=1 -E</pre>
<p>It appears here once it has connected to Redis, within seconds.</p>
</>`}var il="created_at,model,prompt,images",ll=40,cl=300;function Br(){let e={images:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},t=new Map,o=null,n=null,r=Promise.resolve(),s=m=>y(`v1/jobs?status=succeeded&limit=${ll}&fields=${il}${m?`&cursor=${encodeURIComponent(m)}`:""}`),i=()=>{let m=[...t.values()].sort((p,f)=>p.created_at<f.created_at?1:-1);e.images.value=m.flatMap(p=>p.images.map((f,h)=>({key:`${p.id}-${h}`,job:p,image:f,n:h}))),e.hasOlder.value=o!==null},l=m=>r=r.then(async()=>{try{await m(),e.error.value=null}catch(p){e.error.value=p}e.isLoaded.value=!0}),c=()=>l(async()=>{let m=await s(),p=m.next_cursor===null||m.jobs.some(({id:f})=>t.has(f));(!p||!t.size)&&(o=m.next_cursor),t=new Map([...p?t:[],...m.jobs.map(f=>[f.id,f])]),m.next_cursor===null&&(t=new Map(m.jobs.map(f=>[f.id,f]))),i()});return{...e,start:()=>{let m=()=>n??=setTimeout(()=>(n=null,c()),cl),p=[z("reset",m),z("done",({status:f})=>f==="succeeded"&&m())];return c(),()=>{p.forEach(f=>f()),clearTimeout(n)}},load:c,loadOlder:()=>l(async()=>{if(o===null)return;let m=await s(o);for(let p of m.jobs)t.set(p.id,p);o=m.next_cursor,i()})}}var ul="600px";function Hr({job:e,image:t,n:o}){let n=e.prompt||"without a prompt";return a`<li class="tile">
<a class="tile-image" href=${S("job",e.id)} aria-label="Open the job of “${n}”">
<${dl} src=${ae(e.id,o)} image=${t} />
</a>
<p class="tile-prompt" title=${n}>${n}</p>
<p class="tile-actions">
<a href=${S("generate","",{from:e.id})}>Same again</a>
<a href=${S("gallery","",{verify:`${e.id}-${o}`})}>Verify</a>
</p>
</li>`}function dl({src:e,image:t}){let o=A(null),[n,r]=$(!1),[s,i]=$(!1);return b(()=>{let l=new IntersectionObserver(c=>r(c.at(-1).isIntersecting),{rootMargin:ul});return l.observe(o.current),()=>l.disconnect()},[]),a`<span ref=${o}>
${s&&a`<span class="muted">gone: its time is over</span>`}
${n&&!s&&a`<img src=${e} width=${t.width} height=${t.height} alt="" loading="lazy" decoding="async" onError=${()=>i(!0)} />`}
</span>`}function ye({label:e,accept:t="image/*",multiple:o=!1,hint:n,error:r,onFiles:s,children:i}){let[l,c]=$(!1),d=A(0),u=A(null),m=fe(),p=_=>{let g=[..._??[]];g.length&&s(o?g:g.slice(0,1))},f=_=>g=>{g.preventDefault(),d.current+=_,c(d.current>0)},h=_=>{_.preventDefault(),d.current=0,c(!1),p(_.dataTransfer?.files)};return a`<div
class="file-drop ${l?"file-drop-over":""} ${r?"file-drop-bad":""}"
onDragEnter=${f(1)} onDragLeave=${f(-1)} onDragOver=${_=>_.preventDefault()} onDrop=${h}
>
<input
ref=${u} type="file" hidden accept=${t}
multiple=${o} onChange=${_=>{p(_.target.files),_.target.value=""}}
/>
${i??a`<button
type="button" class="file-drop-button" aria-describedby=${r?`${m}-error`:void 0}
onClick=${()=>u.current.click()}
>
<strong>${e}</strong><span>${n??"drop a file here, or press to pick one"}</span>
</button>`}
${r&&a`<p class="field-error" id="${m}-error">${r}</p>`}
</div>`}function Kt(e){return JSON.parse(e,(t,o,n)=>typeof o!="number"||!n?.source||!JSON.rawJSON||String(o)===n.source?o:JSON.rawJSON(n.source))}function Mo(e){return JSON.isRawJSON?.(e)?Number(e.rawJSON):e}function ue(e){return JSON.isRawJSON?.(e)?e.rawJSON:e!==null&&typeof e=="object"?JSON.stringify(e):String(e??"")}var fl="urn:swiftdiffusion:image:1:",ml="http://ns.adobe.com/xmp/note/",pl={lt:"<",gt:">",amp:"&",quot:'"',apos:"'"};function zr(e){return Kr(e,fl)}function Vr(e){return Kr(e,ml).HasExtendedXMP}function Kr(e,t){let o=new TextDecoder().decode(e),n=[...o.matchAll(/\sxmlns:([\w.-]+)\s*=\s*(["'])(.*?)\2/gs)].filter(([,,,s])=>s===t),r={};for(let s of new Set(n.map(([,i])=>i.replaceAll(".","\\.")))){let i=new RegExp(`<${s}:([\\w.-]+)(?:\\s[^<>]*)?>([^<]*)</${s}:\\1\\s*>`,"g"),l=new RegExp(`\\s${s}:([\\w.-]+)\\s*=\\s*(["'])(.*?)\\2`,"gs");for(let[,c,d]of o.matchAll(i))r[c]=Gr(d);for(let[,c,,d]of o.matchAll(l))r[c]??=Gr(d)}return r}function Gr(e){return e.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi,(t,o,n,r)=>{if(r)return pl[r]??t;let s=o?Number(o):parseInt(n,16);return s<=1114111?String.fromCodePoint(s):t})}var $l=216,hl=218,gl=225,Xr="http://ns.adobe.com/xap/1.0/\0",Qr="http://ns.adobe.com/xmp/extension/\0",bl=32,_l=new TextDecoder("latin1");function Yr(e){return e[0]===255&&e[1]===$l&&e[2]===255}function Zr(e){let t=[...yl(e)],o=t.find(r=>es(r,Xr))?.subarray(Xr.length),n=o&&Vr(o);return n?vl(t,n):o??null}function vl(e,t){let o=null,n=1;for(let r of e){let s=Qr.length+bl;if(!es(r,Qr+t)||r.length<s+8)continue;let i=new DataView(r.buffer,r.byteOffset),[l,c]=[i.getUint32(s),i.getUint32(s+4)],d=r.subarray(s+8);if(o===null&&([o,n]=[new Uint8Array(Math.min(l,16<<20)),l]),c+d.length>o.length)break;o.set(d,c),n-=d.length}if(n!==0)throw new Error("a part of its metadata is missing");return o}function*yl(e){for(let t=2;t+4<=e.length&&e[t]===255&&e[t+1]!==hl;){let o=e[t+2]<<8|e[t+3];e[t+1]===gl&&(yield e.subarray(t+4,t+2+o)),t+=2+o}}function es(e,t){return _l.decode(e.subarray(0,t.length))===t}var os=[137,80,78,71,13,10,26,10],Xe=new TextDecoder("latin1"),wl=new TextDecoder;function ns(e){return os.every((t,o)=>e[o]===t)}async function rs(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength),o={};for(let n=os.length;n+12<=e.length;){let r=t.getUint32(n),s=Xe.decode(e.subarray(n+4,n+8));if(n+12+r>e.length)break;let i=kl[s];if(i){let[l,c]=await i(e.subarray(n+8,n+8+r));o[l]=c}n+=12+r}return o}var kl={async tEXt(e){let[t,o]=pt(e);return[Xe.decode(t),Xe.decode(o)]},async zTXt(e){let[t,o]=pt(e);return[Xe.decode(t),Xe.decode(await ts(o.subarray(1)))]},async iTXt(e){let[t,o]=pt(e),[,n]=pt(o.subarray(2)),[,r]=pt(n);return[Xe.decode(t),wl.decode(o[0]===1?await ts(r):r)]}};function pt(e){let t=e.indexOf(0);return t<0?[e,e.subarray(e.length)]:[e.subarray(0,t),e.subarray(t+1)]}async function ts(e){let t=new Blob([e]).stream().pipeThrough(new DecompressionStream("deflate"));return new Uint8Array(await new Response(t).arrayBuffer())}var xl=new TextDecoder("latin1");function ss(e){return Uo(e,0)==="RIFF"&&Uo(e,8)==="WEBP"}function as(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength);for(let o=12;o+8<=e.length;){let n=t.getUint32(o+4,!0);if(Uo(e,o)==="XMP ")return e.subarray(o+8,o+8+n);o+=8+n+n%2}return null}function Uo(e,t){return xl.decode(e.subarray(t,t+4))}var Sl=256<<20;async function is(e){if(e.size>Sl)throw new Error("the file is too large to be an image of this fleet");let t=new Uint8Array(await e.arrayBuffer()),[o,n]=await Cl(t);if(!("receipt"in n))throw new Error("the image carries no receipt: no fleet generated it, or a program saved it without its metadata");return{format:o,bytes:t,receipt:Tl(n.receipt),index:Al(n.index??n.picture??"0")}}async function Cl(e){if(ns(e))return["png",await rs(e).catch(()=>El())];let[t,o]=Yr(e)?["jpeg",Zr(e)]:ss(e)?["webp",as(e)]:[];if(!t)throw new Error("the file is no PNG, JPEG or WebP");return[t,o?zr(o):{}]}function El(){throw new Error("the file's metadata is damaged")}function Tl(e){let t;try{t=Kt(e)}catch{throw new Error("the image's receipt is no JSON")}if(t===null||typeof t!="object"||Array.isArray(t))throw new Error("the image's receipt is no JSON object");return t}function Al(e){if(!/^[0-9]{1,6}$/.test(e))throw new Error("the image's index within its job is no number");return Number(e)}function cs(e,t){return e.length===t.length&&e.every((o,n)=>o===t[n])}async function us(e,t){let[o,n]=[await ls(e),await ls(t)];if(o.width!==n.width||o.height!==n.height)return{sizes:[o,n].map(({width:u,height:m})=>[u,m])};let r=new ImageData(o.width,o.height),[s,i,l]=[0,0,0];for(let u=0;u<o.data.length;u+=4){let m=0;for(let p=u;p<u+3;p+=1){let f=Math.abs(o.data[p]-n.data[p]);l+=f*f,f>m&&(m=f)}m>s&&(s=m),m&&(i+=1,r.data.set([Math.min(255,80+m*4),Math.min(255,m*3),40],u)),r.data[u+3]=255}let c=o.width*o.height,d=l?10*Math.log10(65025*3*c/l):1/0;return{width:o.width,height:o.height,largest:s,share:i/c,psnrDb:d,difference:r}}async function ls(e){let t={colorSpaceConversion:"none",premultiplyAlpha:"none",imageOrientation:"none"},o=await createImageBitmap(e,t).catch(()=>createImageBitmap(e)),n=document.createElement("canvas");[n.width,n.height]=[o.width,o.height];let r=n.getContext("2d",{willReadFrequently:!0});return r.drawImage(o,0,0),o.close(),r.getImageData(0,0,n.width,n.height)}function Xt(e){return y("v1/jobs",{method:"POST",body:JSON.stringify({receipt:e}),headers:{"Content-Type":"application/json"}})}var Rl=2e4;function Qt({job:e,children:t=null}){let[o,n]=$(null),[r,s]=$(0),i=ar(e);return b(()=>{let l=setInterval(()=>s(c=>c+1),Rl);return()=>clearInterval(l)},[]),b(()=>{let l=new AbortController;return Ll(i,l.signal).then(c=>c&&n(c),()=>{}),()=>l.abort()},[i,e.status,r]),b(()=>()=>o&&URL.revokeObjectURL(o),[o]),o?a`<img class="preview" src=${o} alt="Preview after step ${e.progress?.step??0}" />`:t}async function Ll(e,t){let o=await fetch(e,{signal:t,credentials:"same-origin"});return o.ok?URL.createObjectURL(await o.blob()):null}function me({label:e,value:t,max:o=1,text:n}){let r=t!=null&&o>0;return a`<div class="progress">
<progress aria-label=${e} value=${r?t:void 0} max=${r?o:void 0}></progress>
${n&&a`<span class="progress-text">${n}</span>`}
</div>`}function Yt(e,t){let{step:o,total:n}=e.progress??{};if(e.status==="running"&&o>=2&&e.started_at){let i=(t-Date.parse(e.started_at))/1e3;return Math.max(0,i/o*(n-o))}let r=e.estimate?.eta_s;if(r==null)return null;let s=Date.parse(e.created_at)/1e3+r-t/1e3;return s>=0?s:null}function Zt({job:e}){let{step:t,total:o}=e.progress,n=Ol(e),r=n===null?"":`, about ${j(n)} left`;return a`<div class="live">
<div class="live-preview">
${e.status==="running"&&a`<${Qt} job=${e}><p class="muted">No preview yet</p></>`}
${e.status==="queued"&&a`<p class="muted">No worker has begun it yet</p>`}
</div>
<div class="stack">
${e.status==="queued"?a`<p aria-live="polite">Waiting${e.queue_position?` at place ${e.queue_position} of your queue`:""}${r}.</p>`:a`<p aria-live="off">${o?`Step ${t} of ${o}`:"Preparing"}${r}.</p>`}
<${me} label="Progress of the job" value=${o?t:null} max=${o} text=${o?`${t} / ${o}`:""} />
</div>
</div>`}function Ol(e){let[t,o]=$(Date.now());return b(()=>{let n=setInterval(()=>o(Date.now()),1e3);return()=>clearInterval(n)},[]),Yt(e,t)}function eo(e){let[t,o]=$({job:null,error:null}),n=Ot(async()=>{try{let r=await y(`v1/jobs/${encodeURIComponent(e)}`);o(s=>({job:Dl(r,s.job),error:null}))}catch(r){o(s=>({job:r.status===404?null:s.job,error:r}))}},[e]);return b(()=>{n();let r=i=>l=>l.job===e&&i(l),s=[z("reset",n),z("status",r(n)),z("done",r(({status:i})=>i==="deleted"||n())),z("progress",r(({step:i,total:l})=>o(c=>Nl(c,{step:i,total:l}))))];return()=>s.forEach(i=>i())},[e,n]),{...t,reload:n}}function Dl(e,t){return e.status==="running"&&t?.progress.step>e.progress.step?{...e,progress:t.progress}:e}function Nl(e,t){return e.job?{...e,job:{...e.job,progress:t}}:e}function ds({outcome:{again:e,result:t},image:o}){let n=J(()=>URL.createObjectURL(e),[e]);b(()=>()=>URL.revokeObjectURL(n),[n]);let r=t.isSameFile||t.largest===0;return a`
<div class="notice ${r?"notice-ok":"notice-bad"}">
<p><strong>${r?"Equal":"Different"}</strong></p>
<p>${Pl(t)}</p>
</div>
<div class="verify-images">
<figure><img src=${o.url} alt="Your image" /><figcaption class="muted">Yours</figcaption></figure>
<figure><img src=${n} alt="The image as it is generated now" /><figcaption class="muted">Generated now</figcaption></figure>
${!r&&t.difference&&a`<figure><${Il} data=${t.difference} /><figcaption class="muted">Where they differ</figcaption></figure>`}
</div>
`}function Pl(e){if(e.isSameFile)return"The file is the same, byte for byte.";if(e.sizes){let[n,r]=e.sizes.map(([s,i])=>`${s} × ${i}`);return`Your image has ${n} pixels, its receipt gives ${r}.`}let t=`${e.width} × ${e.height}`;return e.largest===0?`All ${t} pixels are the same; the file around them is not.`:`${(100*e.share).toFixed(e.share<.01?3:1)} % of ${t} pixels differ, by at most ${e.largest} of 255; PSNR ${e.psnrDb.toFixed(1)} dB.`}function Il({data:e}){let t=A(null);return b(()=>t.current.getContext("2d").putImageData(e,0,0),[e]),a`<canvas ref=${t} width=${e.width} height=${e.height} role="img" aria-label="Difference of the two images"></canvas>`}function fs({found:e,image:t}){let[o,n]=$(null),[r,s]=$(null),[i,l]=$(!1);return a`
${!o&&a`<p><button type="button" class="button button-primary" disabled=${i} onClick=${async()=>{l(!0),s(null);try{n((await Xt(e.receipt)).id)}catch(d){s(d.detail??d.message)}l(!1)}}>Generate it again and compare</button></p>`}
${r&&a`<div class="notice notice-bad" role="alert"><p><strong>The fleet refused the receipt</strong></p><p>${r}</p></div>`}
${o&&a`<${jl} key=${o} id=${o} found=${e} image=${t} />`}
`}function jl({id:e,found:t,image:o}){let{job:n,error:r}=eo(e),[s,i]=$(null),l=n!==null&&!Y(n.status);return b(()=>{l&&Ml(n,t,o).then(i,c=>i({error:c.detail??c.message}))},[l]),a`<div class="stack" aria-live="polite">
<p>Generated again by <a href=${S("job",e)}>job ${e}</a></p>
${r&&a`<p class="field-error">${r.detail}</p>`}
${n&&!l&&a`<${Zt} job=${n} />`}
${l&&!s&&a`<p class="muted">Comparing …</p>`}
${s?.error&&a`<div class="notice notice-bad"><p><strong>Not compared</strong></p><p>${s.error}</p></div>`}
${s?.result&&a`<${ds} outcome=${s} image=${o} />`}
${n?.warnings.length>0&&a`<div class="notice notice-warn">
<p><strong>Warnings</strong></p>
<ul>${n.warnings.map(c=>a`<li key=${c}>${c}</li>`)}</ul>
</div>`}
</div>`}async function Ml(e,{index:t,bytes:o},n){if(e.status!=="succeeded")throw new Error(e.error?.detail??`the job was ${e.status}`);if(t>=e.images.length)throw new Error(`the image claims to be image ${t+1}, but its receipt is of ${e.images.length}`);let r=await y(ae(e.id,t),{headers:{Accept:"image/*"}});return cs(o,new Uint8Array(await r.arrayBuffer()))?{again:r,result:{isSameFile:!0}}:{again:r,result:await us(n.blob,r)}}function ms({chosen:e}){let[t,o]=$(null),[n,r]=$(null),s=A(null),i=async(c,d)=>{r(null),o({name:d,blob:c,url:URL.createObjectURL(c)}),r(await is(c).catch(u=>({error:u.message})))};return b(()=>()=>t&&URL.revokeObjectURL(t.url),[t]),b(()=>{let[,c,d]=/^([0-9a-f]{16})-([0-9]+)$/.exec(e??"")??[];c&&(s.current.focus(),y(ae(c,d),{headers:{Accept:"image/*"}}).then(u=>i(u,`image ${Number(d)+1} of job ${c}`)).catch(u=>r({error:u.detail??u.message})))},[e]),a`<section class="card stack verify" aria-labelledby="verify-title">
<div class="panel-header">
<h2 ref=${s} id="verify-title" tabindex="-1">Verify an image</h2>
${(t||n)&&a`<button type="button" class="button button-small" onClick=${()=>{o(null),r(null),e&&se("gallery")}}>Close</button>`}
</div>
<${ye}
label="Drop an image here" accept="image/png,image/jpeg,image/webp" onFiles=${([c])=>i(c,c.name)}
hint="A PNG, JPEG or WebP that a fleet has generated: its receipt is read here, and the image generated again and compared."
/>
${n?.error&&a`<div class="notice notice-bad" role="alert"><p><strong>Not verified</strong></p><p>${n.error}.</p></div>`}
${t&&n?.receipt&&a`<div class="verify-found" key=${t.url}>
<figure class="verify-image"><img src=${t.url} alt="The image to verify" /><figcaption class="muted">${t.name}</figcaption></figure>
<div class="stack">
<${Ul} found=${n} />
<${fs} found=${n} image=${t} />
</div>
</div>`}
</section>`}function Ul({found:{receipt:e,index:t,format:o}}){let{spec:n={},worker:r={}}=e,s=c=>(c??[]).map(({name:d,sha256:u})=>`${d} (${String(u).slice(0,12)})`).join(", "),i=Object.entries(r?.versions??{}).map(([c,d])=>`${c} ${ue(d)}`).join(", "),l=[["Prompt",ue(n.prompt)],["Model",`${ue(n.model)} (${ue(e.model_sha256).slice(0,12)})`],["Image",`${ue(n.width)} × ${ue(n.height)}, ${o.toUpperCase()}, image ${t+1} of its job`],["Steps",`${ue(n.num_inference_steps)}, ${ue(n.scheduler)}`],["Seed",ue(n.seeds??n.seed)],["ControlNets",s(e.controlnets)],["LoRAs",s(e.loras)],["Computed on",[ue(r?.device),i].filter(Boolean).join(": ")]];return a`<dl class="facts">
${l.filter(([,c])=>c).map(([c,d])=>a`<div key=${c}><dt>${c}</dt><dd>${d}</dd></div>`)}
</dl>
<details>
<summary>The whole receipt</summary>
<pre class="panel-text" tabindex="0" role="region" aria-label="Receipt">${JSON.stringify(e,null,2)}</pre>
</details>`}function ps({query:e}){let t=J(Br,[]);return b(()=>t.start(),[t]),a`<${I} title="Gallery">
<${ms} chosen=${e.verify} />
<${ql} gallery=${t} />
</>`}function ql({gallery:{images:e,isLoaded:t,error:o,hasOlder:n,load:r,loadOlder:s}}){let i=A(null);return b(()=>{if(!i.current)return;let l=new IntersectionObserver(c=>c.at(-1).isIntersecting&&s(),{rootMargin:"800px"});return l.observe(i.current),()=>l.disconnect()},[t.value,n.value,e.value.length]),t.value?o.value&&!e.value.length?a`<${N} error=${o.value} onRetry=${r} />`:e.value.length?a`
<h2 class="visually-hidden">Finished images</h2>
<ul class="tiles">${e.value.map(l=>a`<${Hr} ...${l} key=${l.key} />`)}</ul>
${n.value&&a`<p class="gallery-end" ref=${i}><button type="button" class="button" onClick=${s}>Show older images</button></p>`}
`:a`<${U} title="No images yet"><a href=${S("generate")}>Generate the first one</a>; it appears here when it is finished.</>`:a`<p class="muted" aria-busy="true">Reading the images …</p>`}var Fl=500,Wl=1e6,Jl=2e3;function $s(e){let[t,o]=$({estimate:null,error:null}),r=!e.prompt.trim()?"":JSON.stringify(e);return b(()=>{if(!r){o({estimate:null,error:null});return}let s=new AbortController,l=setTimeout(async()=>{let c={"Content-Type":"application/json"};try{let d=await y("v1/jobs?dry_run=1",{method:"POST",body:r,headers:c,signal:s.signal});o({estimate:d,error:null})}catch(d){d.name!=="AbortError"&&o({estimate:d.estimate,error:d})}},r.length>Wl?Jl:Fl);return()=>{clearTimeout(l),s.abort()}},[r]),t}function hs({estimate:e}){if(!e)return null;let{device_seconds:t,eta_s:o,eta_p90_s:n,queue_position:r}=e;return o===null?a`<span>No worker serves this model now: the job would wait.</span>`:a`<span>
Done in about <strong>${j(o)}</strong>${r>1?`, behind ${r-1} of your jobs`:""};
${" "}nine of ten such jobs within ${j(n)}. It uses a device for ${j(t)}.
</span>`}function we({label:e,of:t,value:o,min:n,max:r,step:s,error:i,onChange:l,extra:c}){let d=fe(),u=t?`${e} of ${t}`:e,m=f=>f.target.value!==""&&l(Number(f.target.value)),p=i?{"aria-invalid":"true","aria-describedby":`${d}-error`}:{};return a`<div class="slider ${i?"field-bad":""}">
<label class="field-label slider-label" for=${d}>${e}${t&&a`<span class="visually-hidden"> of ${t}</span>`}</label>
<input type="number" class="slider-number" aria-label="${u}, as a number" step=${s} value=${o} ...${p} onInput=${m} />
${c}
<input type="range" id=${d} min=${n} max=${r} step=${s} value=${o} onInput=${m} />
${i&&a`<p class="field-error" id="${d}-error">${i}</p>`}
</div>`}var Bl=300,gs=x(!0);function bs({controlnet:e,n:t,size:o}){let[n,r]=$({url:null,error:null}),{image:s,preprocessor:i,preprocessor_options:l}=e,{width:c,height:d}=o,u=JSON.stringify(l);return b(()=>{let m=new AbortController,f=setTimeout(async()=>{let h={image:s.data,preprocessor:i,preprocessor_options:JSON.parse(u)};c&&(h.width=Number(c)),d&&(h.height=Number(d));try{let _=await y("v1/controlnets/preprocess",{method:"POST",json:h,signal:m.signal});r({url:URL.createObjectURL(_),error:null})}catch(_){if(_.name==="AbortError")return;[404,405].includes(_.status)&&!_.field&&(gs.value=!1),r({url:null,error:_.detail})}},Bl);return()=>{clearTimeout(f),m.abort()}},[s.data,i,u,c,d]),b(()=>()=>n.url&&URL.revokeObjectURL(n.url),[n.url]),gs.value?a`<figure class="control-map" aria-live="polite">
${n.url&&a`<img src=${n.url} alt="Control map ${t+1}: ${i}" />`}
${n.error?a`<figcaption class="field-error">${n.error}</figcaption>`:a`<figcaption class="muted">Control map: what the ControlNet is given.</figcaption>`}
</figure>`:null}var to={prompt:"",negative_prompt:"",model:"",width:"",height:"",num_inference_steps:"",guidance_scale:"",scheduler:"",seed:"",num_images:"1",strength:"",prompt_syntax:"plain",output_format:"png",output_quality:"",priority:"normal",image:null,mask_image:null,loras:[],controlnets:[]},_s=["width","height","num_inference_steps","guidance_scale","seed","num_images","strength","output_quality"],vs=["model","scheduler","negative_prompt"],ys=0,P=x(to);function H(e){P.value={...P.value,...e}}function ws(){P.value=to}function ks(e){let{loras:t}=P.value;t.some(o=>o.name===e)||H({loras:[...t,{name:e,scale:1}]})}function xs(e,t){let o={...Hl,key:ys+=1,image:e,name:t};H({controlnets:[...P.value.controlnets,o]})}var Hl={preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1};function qo(e,t){let o=P.value.controlnets.flatMap(n=>n.key!==e?[n]:t?[{...n,...t}]:[]);H({controlnets:o})}function Fo(e){let t={prompt:e.prompt};for(let o of _s)e[o]!==""&&(t[o]=Number(e[o]));for(let o of vs)e[o]&&(t[o]=e[o]);return e.prompt_syntax!=="plain"&&(t.prompt_syntax=e.prompt_syntax),e.output_format!=="png"?t.output_format=e.output_format:delete t.output_quality,e.priority!=="normal"&&(t.priority=e.priority),e.image?t.image=e.image.data:delete t.strength,e.image&&e.mask_image&&(t.mask_image=e.mask_image.data),e.loras.length&&(t.loras=e.loras.map(({name:o,scale:n})=>({name:o,scale:zl(n)}))),e.controlnets.length&&(t.controlnets=e.controlnets.map(({key:o,image:n,...r})=>({...r,image:n.data}))),t}function Ss({id:e,request:t}){let o=(r,s,i)=>r&&{data:`sha256:${r}`,thumb:s,name:i},n=Object.fromEntries([..._s,...vs,"prompt","prompt_syntax","output_format"].map(r=>[r,Gl(t[r],to[r])]));P.value={...to,...n,num_images:String(t.seeds?.length??t.num_images),image:o(t.image,null,"the image of that job")??null,mask_image:o(t.mask_image,null,"the mask of that job")??null,loras:t.loras.map(({name:r,scale:s})=>({name:r,scale:typeof s=="number"?s:JSON.stringify(s)})),controlnets:t.controlnets.map((r,s)=>({key:ys+=1,image:o(r.image,`v1/jobs/${e}/controlnets/${s}/image`,"stored image"),name:r.name,preprocessor:r.preprocessor,preprocessor_options:r.preprocessor_options,conditioning_scale:r.conditioning_scale,guidance_start:r.guidance_start,guidance_end:r.guidance_end}))}}function Gl(e,t){return e==null?t:String(e)}function zl(e){return typeof e=="string"?JSON.parse(e):e}function oo(e){return new Promise((t,o)=>{let n=new FileReader;n.onerror=()=>o(n.error),n.onload=()=>t({data:n.result,thumb:n.result,name:e.name}),n.readAsDataURL(e)})}function $t({label:e,hint:t,error:o,value:n,onChange:r}){let s=([i])=>oo(i).then(r,()=>T(`${i.name} could not be read.`,"bad"));return n?a`<${ye} label="${e}: another file" error=${o} onFiles=${s}>
<div class="image-input">
${n.thumb?a`<img src=${n.thumb} alt="" />`:a`<div class="image-input-none"></div>`}
<div class="grow">
<p class="field-label">${e}</p>
<p class="muted image-input-name">${n.name}</p>
</div>
<button type="button" class="button button-small" onClick=${()=>r(null)}>
Remove<span class="visually-hidden"> ${e}</span>
</button>
</div>
</>`:a`<${ye} label=${e} hint=${t} error=${o} onFiles=${s} />`}function Cs({names:e,preprocessors:t,size:o,errors:n}){let r=P.value.controlnets,s=async i=>{for(let l of i)try{xs(await oo(l),e[0])}catch{T(`${l.name} could not be read.`,"bad")}};return a`<fieldset class="section">
<legend>ControlNets</legend>
${r.map((i,l)=>a`<${Vl} key=${i.key} controlnet=${i} n=${l} names=${e} preprocessors=${t} size=${o} errors=${n} />`)}
${n.controlnets&&a`<p class="field-error">${n.controlnets}</p>`}
${e.length?a`<${ye} label="Add a control image" multiple hint="drop an image here, or press to pick one" onFiles=${s} />`:a`<p class="muted">No ControlNet fits this model.</p>`}
</fieldset>`}function Vl({controlnet:e,n:t,names:o,preprocessors:n,size:r,errors:s}){let{key:i,image:l,name:c,preprocessor:d,conditioning_scale:u,guidance_start:m,guidance_end:p}=e,f=v=>qo(i,v),h=v=>s[`controlnets.${t}.${v}`],_=o.includes(c)?o:[c,...o],g=`ControlNet ${t+1}`,E=v=>a`${v}<span class="visually-hidden"> of ${g}</span>`;return a`<div class="controlnet">
<${$t} label=${`Control image ${t+1}`} value=${l} error=${h("image")} onChange=${v=>qo(i,v&&{image:v})} />
<div class="fields">
<${C} label=${E("ControlNet")} error=${h("name")}>
<${V} options=${_} value=${c} onChange=${v=>f({name:v})} />
</>
<${C} label=${E("Preprocessor")} error=${h("preprocessor")}>
<${V}
options=${n.map(v=>v.name)} value=${d}
onChange=${v=>f({preprocessor:v,preprocessor_options:{}})}
/>
</>
</div>
<${Kl} controlnet=${e} preprocessors=${n} error=${h("preprocessor_options")} onChange=${f} />
${d!=="none"&&a`<${bs} controlnet=${e} n=${t} size=${r} />`}
<${we}
label="Weight" of=${g} value=${u} min=${0} max=${2} step=${.05} error=${h("conditioning_scale")}
onChange=${v=>f({conditioning_scale:v})}
/>
<div class="fields">
<${we}
label="From" of=${g} value=${m} min=${0} max=${1} step=${.05} error=${h("guidance_start")??s[`controlnets.${t}`]}
onChange=${v=>f({guidance_start:v})}
/>
<${we}
label="To" of=${g} value=${p} min=${0} max=${1} step=${.05} error=${h("guidance_end")}
onChange=${v=>f({guidance_end:v})}
/>
</div>
</div>`}function Kl({controlnet:e,preprocessors:t,error:o,onChange:n}){let{preprocessor:r,preprocessor_options:s}=e,i=Object.entries(t.find(c=>c.name===r)?.options??{});if(!i.length)return null;let l=(c,d)=>n({preprocessor_options:{...s,[c]:d}});return a`<div class="fields">
${i.map(([c,d])=>{let u=d.maximum??64,m=d.type==="integer";return a`<${we}
key=${c} label=${c.replaceAll("_"," ")} value=${s[c]??d.default}
min=${d.minimum??(m?0:.5)} max=${u} step=${m?1:.5}
onChange=${p=>l(c,p)}
/>`})}
${o&&a`<p class="field-error">${o}</p>`}
</div>`}var no=8,Xl="v1/loras?limit=1000";function Es({errors:e}){let[t,o]=$(""),{data:n,error:r}=O(Xl),s=P.value.loras,i=t.toLowerCase().split(/\s+/).filter(Boolean),l=(n?.loras??[]).filter(({name:p,problem:f})=>!f&&!s.some(h=>h.name===p)),c=l.filter(({name:p})=>i.every(f=>p.toLowerCase().includes(f))),d=p=>{H({loras:[...s,{name:p,scale:1}]}),o("")},u=(p,f)=>H({loras:s.map(h=>h.name===p?{name:p,scale:f}:h)}),m=p=>H({loras:s.filter(f=>f.name!==p)});return a`<fieldset class="section">
<legend>LoRAs</legend>
${e.loras&&a`<p class="field-error">${e.loras}</p>`}
${s.map((p,f)=>a`<${Ql}
key=${p.name} lora=${p} error=${e[`loras.${f}.name`]??e[`loras.${f}.scale`]??e[`loras.${f}`]}
onChange=${h=>u(p.name,h)} onRemove=${()=>m(p.name)}
/>`)}
${r&&a`<p class="field-error">${r.detail}</p>`}
${n&&!n.loras.length&&a`<p class="muted">There are none yet: <a href=${S("loras")}>upload one</a>.</p>`}
${(l.length>no||t)&&a`<${C} label="Search LoRAs" hideLabel>
<input type="search" placeholder="Search ${l.length} LoRAs" value=${t} onInput=${p=>o(p.target.value)} />
</>`}
<ul class="chips">
${c.slice(0,no).map(({name:p})=>a`<li key=${p}>
<button type="button" class="chip" onClick=${()=>d(p)}>
<span aria-hidden="true">+</span> <span class="visually-hidden">Add LoRA </span>${p}
</button>
</li>`)}
${c.length>no&&a`<li class="muted">and ${c.length-no} more</li>`}
${t&&!c.length&&a`<li class="muted">No LoRA is called so.</li>`}
</ul>
</fieldset>`}function Ql({lora:e,error:t,onChange:o,onRemove:n}){let{name:r,scale:s}=e,i=a`<button type="button" class="icon-button" aria-label="Remove LoRA ${r}" onClick=${n}>×</button>`;return typeof s=="number"?a`<${we} label=${r} value=${s} min=${-1} max=${2} step=${.05} error=${t} onChange=${o} extra=${i} />`:a`<div class="row"><span class="field-label">${r}</span><code class="grow">${s}</code>${i}</div>`}var Yl=[["png","PNG, lossless"],["jpeg","JPEG"],["webp","WebP"]],Zl=[["interactive","interactive: before my others"],["normal","normal"],["batch","batch: after my others"]],ec=2**32;function Ts({catalog:e,errors:t}){let o=e.models.find(({name:l})=>l===P.value.model)??e.models.find(l=>l.default),{width:n,height:r,image:s}=P.value,i={width:n||(s?null:o?.width),height:r||(s?null:o?.height)};return a`
<${tc} errors=${t} />
<${oc} models=${e.models} model=${o} errors=${t} />
<${Es} errors=${t} />
<${Cs} names=${o?.controlnets??[]} preprocessors=${e.preprocessors} size=${i} errors=${t} />
<${rc} errors=${t} />
<${sc} errors=${t} />
`}function tc({errors:e}){let{prompt:t,negative_prompt:o}=P.value;return a`<div class="stack">
<${C} label="Prompt" error=${e.prompt}>
<textarea rows="3" value=${t} required onInput=${ht("prompt")} placeholder="a red apple on a blue background"></textarea>
</>
<${C} label="Negative prompt" error=${e.negative_prompt}>
<input value=${o} onInput=${ht("negative_prompt")} placeholder="what the image shall not show" />
</>
</div>`}function oc({models:e,model:t,errors:o}){let n=P.value,r=(l,c,d,u)=>a`<${C} label=${c} error=${o[l]}>
<input type="number" value=${n[l]} placeholder=${d??""} onInput=${ht(l)} ...${u} />
</>`,s=e.map(({name:l,workers:c})=>[l,c.length?l:`${l} (no worker)`]),i=[["",`the model's: ${t?.scheduler??""}`],...t?.schedulers??[]];return a`<fieldset class="section">
<legend>Model</legend>
<${C} label="Model" hideLabel error=${o.model}>
<${V} options=${s} value=${n.model||t?.name} onChange=${l=>H({model:l})} />
</>
<div class="fields fields-3">
${r("width","Width",t?.width,{min:8,step:8})} ${r("height","Height",t?.height,{min:8,step:8})}
${r("num_images","Images",1,{min:1})} ${r("num_inference_steps","Steps",t?.num_inference_steps,{min:1})}
${r("guidance_scale","Guidance",t?.guidance_scale,{min:0,step:.5})} <${nc} error=${o.seed} />
</div>
<${C} label="Scheduler" error=${o.scheduler}>
<${V} options=${i} value=${n.scheduler} onChange=${l=>H({scheduler:l})} />
</>
</fieldset>`}function nc({error:e}){let{seed:t}=P.value,o=()=>H({seed:t===""?String(Math.floor(Math.random()*ec)):""});return a`<div class="seed">
<${C} label="Seed" error=${e}>
<input type="number" min="0" value=${t} placeholder="random" onInput=${ht("seed")} />
</>
<button type="button" class="link-button" onClick=${o}>${t===""?"Fix one":"Random"}</button>
</div>`}function rc({errors:e}){let{image:t,mask_image:o,strength:n}=P.value,r=o?1:.8;return a`<fieldset class="section">
<legend>Start from an image</legend>
<${$t}
label="Image" hint="optional: drop one, or press to pick it" value=${t} error=${e.image}
onChange=${s=>H(s?{image:s}:{image:null,mask_image:null,strength:""})}
/>
${t&&a`<${we}
label="Strength: how much is generated anew" value=${n===""?r:Number(n)} min=${0} max=${1} step=${.05}
error=${e.strength} onChange=${s=>H({strength:String(s)})}
/>
<${$t}
label="Mask" hint="optional: white is generated anew, black stays" value=${o} error=${e.mask_image}
onChange=${s=>H({mask_image:s})}
/>`}
</fieldset>`}function sc({errors:e}){let{output_format:t,output_quality:o,priority:n,prompt_syntax:r}=P.value;return a`<fieldset class="section">
<legend>Output and queue</legend>
<div class="fields">
<${C} label="File format" error=${e.output_format}>
<${V} options=${Yl} value=${t} onChange=${s=>H({output_format:s})} />
</>
${t!=="png"&&a`<${C} label="Quality" error=${e.output_quality}>
<input type="number" min="1" max="100" placeholder="95" value=${o} onInput=${ht("output_quality")} />
</>`}
<${C} label="Priority" error=${e.priority}>
<${V} options=${Zl} value=${n} onChange=${s=>H({priority:s})} />
</>
</div>
<${mr}
label="Weights in prompts, as A1111 writes them: (red:1.3)" checked=${r==="a1111"}
onChange=${s=>H({prompt_syntax:s?"a1111":"plain"})}
/>
</fieldset>`}function ht(e){return t=>H({[e]:t.target.value})}var As="swiftdiffusion.submitted",ac=30,gt=x(ic());function Rs(e){Ls([e,...gt.value].slice(0,ac))}function Wo(e){Ls(gt.value.filter(t=>!e.includes(t)))}function ic(){try{return JSON.parse(sessionStorage.getItem(As))??[]}catch{return[]}}function Ls(e){gt.value=e;try{sessionStorage.setItem(As,JSON.stringify(e))}catch{}}function Os(){let e=gt.value;b(()=>{for(let n of e)ne.value.has(n)||ft(n).then(r=>r||Wo([n]),()=>{})},[e]);let t=e.map(n=>ne.value.get(n)).filter(Boolean),o=t.filter(n=>!Y(n.status)).map(n=>n.id);return a`<section class="results" aria-label="Results">
<header class="row">
<h2 class="grow">Results</h2>
${o.length>0&&a`<button type="button" class="button button-small" onClick=${()=>Wo(o)}>Clear</button>`}
</header>
${t.length?t.map(n=>a`<${lc} key=${n.id} job=${n} />`):a`<${U} title="Nothing submitted yet">
Describe an image at the left and press <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Previews appear here while it is generated; all
jobs are in the <a href=${S("gallery")}>gallery</a>.
</>`}
</section>`}function lc({job:e}){return a`<article class="job-card card" aria-label=${`Job: ${e.prompt}`} data-job=${e.id} data-status=${e.status}>
<header class="row">
<${B} status=${e.status} />
<p class="grow job-prompt">${e.prompt}</p>
${Y(e.status)&&a`<button type="button" class="button button-small" onClick=${()=>Be(e.id)}>Cancel</button>`}
<a class="button button-small" href=${S("job",e.id)}>Details</a>
</header>
${Y(e.status)&&a`<${cc} job=${e} />`}
${e.error&&a`<p class="field-error">${e.error.detail}</p>`}
${e.warnings?.map(t=>a`<p class="warning" key=${t}>${t}</p>`)}
${e.images?.length>0&&a`<${dc} job=${e} />`}
<p class="visually-hidden" role="status">${fc(e)}</p>
</article>`}function cc({job:e}){let{step:t=0,total:o=0}=e.progress??{},n=a`<div class="preview-none muted">${uc(e)}</div>`;return a`
<div class="previews"><${Qt} job=${e}>${n}</></div>
${e.status==="running"&&a`<${me} label="Steps of the job" value=${o?t:null} max=${o} text=${o?`${t} of ${o} steps`:"preparing"} />`}
`}function uc({status:e,queue_position:t,estimate:o}){if(e==="running")return"The first preview comes after a few steps.";let n=t>1?`Number ${t} of your queue.`:"Next in your queue.";return o?.eta_s?`${n} Done in about ${j(o.eta_s)}.`:n}function dc({job:e}){return a`<ul class="images ${e.images.length>1?"images-many":""}">
${e.images.map(({seed:t,width:o,height:n},r)=>a`<li key=${r}>
<a href=${ae(e.id,r)} target="_blank" rel="noreferrer">
<img
class=${o<256?"pixelated":""} src=${ae(e.id,r)} width=${o} height=${n}
alt=${`Image ${r+1} of ${e.images.length}: ${e.prompt}`}
/>
</a>
<p class="row muted">
<span>${o} × ${n}</span>
<button type="button" class="link-button" onClick=${()=>H({seed:String(t)})}>Use seed ${t}</button>
</p>
</li>`)}
</ul>`}function fc({status:e,prompt:t,images:o}){return e==="succeeded"?`${Z(o?.length??0,"image")} of “${t}”: done.`:e==="failed"||e==="cancelled"?`“${t}”: ${e}.`:""}var mc=15e3;function Ds({query:e}){let t=O("v1/models",{everyMs:mc}),o=O("v1/controlnets"),n=t.error??o.error;bc(e.from),b(()=>{e.lora&&ks(e.lora)},[e.lora]);let r=a`<button type="button" class="button button-small" onClick=${ws}>Clear the form</button>`;if(!t.data||!o.data)return a`<${I} title="Generate">${n&&a`<${N} error=${n} onRetry=${()=>(t.reload(),o.reload())} />`}</>`;let s={models:t.data.models,preprocessors:o.data.preprocessors};return a`<${I} title="Generate" actions=${r} className="generate">
<div class="generate-columns">
<${pc} catalog=${s} />
<${Os} />
</div>
</>`}function pc({catalog:e}){let t=A(null),[o,n]=$(null),[r,s]=$(!1),i=Fo(P.value),{estimate:l,error:c}=$s(i);b(()=>n(null),[P.value]);let d=o??c,u=He(d),m=d&&!hc(d,P.value)?d.detail:null,p=async f=>{if(f?.preventDefault(),!(r||!P.value.prompt.trim())){s(!0);try{let{id:h}=await y("v1/jobs",{method:"POST",json:Fo(P.value)});Rs(h),await ft(h),$c()}catch(h){n(h)}s(!1)}};return gc(p),a`<form class="generate-form" ref=${t} onSubmit=${p} noValidate>
<${Ts} catalog=${e} errors=${u} />
<div class="submit-bar">
<button type="submit" class="button button-primary" disabled=${r||!P.value.prompt.trim()}>
${r?"Submitting …":"Generate"}
</button>
<div class="submit-text" aria-live="polite">
${m?a`<p class="field-error">${m}</p>`:a`<p class="muted"><${hs} estimate=${l} /></p>`}
</div>
</div>
</form>`}function $c(){let e=document.querySelector(".results");e&&e.getBoundingClientRect().top>innerHeight&&e.scrollIntoView({block:"start"})}function hc(e,t){let o=e.field??e.errors[0]?.field;if(!o)return!1;let[n,r]=o.split(".");return n in t&&(r===void 0||r in t[n])}function gc(e){let t=A(e);t.current=e,b(()=>{let o=n=>{n.key==="Enter"&&(n.ctrlKey||n.metaKey)&&!document.querySelector("dialog[open]")&&(n.preventDefault(),t.current())};return addEventListener("keydown",o),()=>removeEventListener("keydown",o)},[])}function bc(e){b(()=>{e&&y(`v1/jobs/${encodeURIComponent(e)}`).then(Ss,t=>T(t.detail,"bad"))},[e])}function Ns({job:e,exact:t,onChange:o}){let[n,r]=$(!1),s=d=>async()=>{r(!0),await d(),r(!1)},i=s(async()=>{await Be(e.id),await o()}),l=s(async()=>{await oe({title:"Delete this job?",text:"Its images, its receipt and its record are removed for good. Images that you have saved stay as they are.",label:"Delete",isDangerous:!0})&&await sr(e.id)&&(T("The job is deleted.","ok"),se("gallery"))}),c=s(async()=>{try{se("job",(await Xt(t.receipt)).id)}catch(d){T(`The receipt was refused: ${d.detail}`,"bad")}});return a`
${Y(e.status)&&a`<button type="button" class="button button-bad" disabled=${n} onClick=${i}>Cancel</button>`}
<a class="button" href=${S("generate","",{from:e.id})}>Same again</a>
${t?.receipt&&a`<button type="button" class="button" disabled=${n} onClick=${c}>Again from the receipt</button>`}
${!Y(e.status)&&a`<button type="button" class="button button-bad" disabled=${n} onClick=${l}>Delete</button>`}
`}function Is({job:e}){return e.controlnets.length?a`<section class="card stack">
<h2>ControlNets</h2>
<ul class="controlnets">
${e.controlnets.map(({name:t,preprocessor:o,map_url:n},r)=>{let{conditioning_scale:s,guidance_start:i,guidance_end:l}=e.request.controlnets[r],c=`v1/jobs/${e.id}/controlnets/${r}`;return a`<li key=${r} class="stack">
<h3>${t}</h3>
<p class="muted">
scale ${s}, from ${100*i} % to ${100*l} % of the steps
</p>
<div class="controlnet-images">
<${Ps} src="${c}/image" caption="Control image" of=${t} />
${o!=="none"&&n&&a`<${Ps} src="${c}/map" caption="Map by ${o}" of=${t} />`}
</div>
</li>`})}
</ul>
</section>`:null}function Ps({src:e,caption:t,of:o}){let[n,r]=$(!1);return a`<figure>
${n?a`<p class="muted">gone: its time is over</p>`:a`<a href=${e} target="_blank" rel="noopener"><img src=${e} alt="${t} of ${o}" onError=${()=>r(!0)} /></a>`}
<figcaption class="muted">${t}</figcaption>
</figure>`}function Ms({job:e}){let{request:t}=e,o=t.seeds??Array.from({length:t.num_images},(r,s)=>t.seed+s),n=[["Model",t.model],["Size",t.width?`${t.width} × ${t.height}`:"the model's own"],["Steps",`${vc(t)}, ${t.scheduler}`],["Guidance scale",t.guidance_scale],[o.length>1?"Seeds":"Seed",o.join(", ")],["ControlNets",t.controlnets.map(({name:r,conditioning_scale:s})=>`${r} × ${s}`).join(", ")],["LoRAs",t.loras.map(({name:r,scale:s})=>`${r} × ${typeof s=="number"?s:JSON.stringify(s)}`).join(", ")],["File format",t.output_format+(t.output_quality?`, quality ${t.output_quality}`:"")],["Priority",e.priority],["Deadline",e.deadline_s===null?"":j(e.deadline_s)],["Submitted",te(e.created_at)],["Waited",js(e.created_at,e.started_at)],["Took",js(e.started_at,e.finished_at)]];return a`<dl class="facts">
${n.filter(([,r])=>r!==""&&r!==null&&r!==void 0).map(([r,s])=>a`<div key=${r}><dt>${r}</dt><dd>${s}</dd></div>`)}
<${_c} job=${e} />
</dl>`}function _c({job:e}){let{data:t}=O("v1/webhooks/default/deliveries?limit=200"),o=(t?.deliveries??[]).filter(r=>r.job_id===e.id);if(!o.length)return null;let n=Map.groupBy?[...Map.groupBy(o,({status:r})=>r)].map(([r,s])=>`${s.length} ${r}`):[];return a`<div>
<dt>Webhook</dt>
<dd><a href=${S("webhooks","",{webhook:"default"})}>${n.join(", ")||o.length}</a></dd>
</div>`}function vc({timesteps:e,sigmas:t,num_inference_steps:o}){return e?.length??(t?t.length-1:o)}function js(e,t){return e&&t?j((Date.parse(t)-Date.parse(e))/1e3):""}function Us({job:e}){let[t,o]=$(0),[n,r]=$(null),s=e.images.length,i=d=>o(u=>(u+d+s)%s);wc(s>1?i:null);let l=e.images[t],c=`image ${t+1} of ${s}`;return a`<figure class="viewer">
<div class="viewer-image">
${n===t?a`<p class="muted">The file of this image is gone: its time is over.</p>`:a`<img key=${t} src=${ae(e.id,t)} width=${l.width} height=${l.height} alt="Generated ${c}: ${e.request.prompt}" onError=${()=>r(t)} />`}
</div>
<figcaption class="viewer-bar">
${s>1&&a`<div class="row">
<button type="button" class="button button-small" aria-label="Previous image" aria-keyshortcuts="ArrowLeft" onClick=${()=>i(-1)}>←</button>
<span aria-live="polite">Image ${t+1} of ${s}</span>
<button type="button" class="button button-small" aria-label="Next image" aria-keyshortcuts="ArrowRight" onClick=${()=>i(1)}>→</button>
</div>`}
<span class="muted">${l.width} × ${l.height} · seed ${l.seed}</span>
<div class="row viewer-actions">
<a class="button button-small" href=${ae(e.id,t)} download=${yc(e,t)}>Download</a>
${s>1&&a`<a class="button button-small" href="v1/jobs/${e.id}/images.zip" download="${e.id}.zip">All as zip</a>`}
<a class="button button-small" href=${S("gallery","",{verify:`${e.id}-${t}`})}>Verify</a>
</div>
</figcaption>
${s>1&&a`<ul class="viewer-strip" aria-label="Images of the job">
${e.images.map((d,u)=>a`<li key=${u}>
<button type="button" aria-label="Show image ${u+1}" aria-current=${u===t?"true":void 0} onClick=${()=>o(u)}>
<img src=${ae(e.id,u)} width=${d.width} height=${d.height} alt="" loading="lazy" />
</button>
</li>`)}
</ul>`}
</figure>`}function yc(e,t){return`${e.id}-${t}.${e.images[t].content_type.split("/")[1]}`}function wc(e){Lt(()=>{if(!e)return;let t=o=>{let n={ArrowLeft:-1,ArrowRight:1}[o.key];!n||o.ctrlKey||o.metaKey||o.altKey||o.defaultPrevented||o.target.closest?.("input, textarea, select, pre, .chart-scroll, .timeline-table, dialog")||e(n)};return addEventListener("keydown",t),()=>removeEventListener("keydown",t)},[e!==null])}var kc=["split_steps","control_map","etag","size_bytes","key"],Jo={guess_mode:!1,long_prompt:"truncate",prompt_syntax:"plain",guidance_rescale:0,eta:0,residual_precision:"exact",latent_parallelism:"auto",output_format:"png",crops_coords_top_left:[0,0],negative_crops_coords_top_left:[0,0],preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1,lora_loading:{mode:"bounded"},controlnets:[],loras:[],num_images:1};function Js(e){let{seed:t,num_images:o,num_inference_steps:n,...r}=e.request,s=Bo(r);!r.timesteps&&!r.sigmas&&(s.num_inference_steps=n),r.seeds||Object.assign(s,{seed:t},Mo(o)>1?{num_images:o}:{});for(let i of["image","mask_image"])s[i]&&(s[i]=Ws(s[i]));return s.controlnets&&(s.controlnets=r.controlnets.map(i=>({...Bo(i),image:Ws(i.image)}))),s.loras&&(s.loras=r.loras.map(({name:i,scale:l})=>({name:i,scale:l}))),e.priority!=="normal"&&(s.priority=e.priority),e.deadline_s!==null&&(s.deadline_s=e.deadline_s),s}function Bs(e,{address:t,isKeyed:o}){let n=[`curl -sS ${qs(t)}`,"-H 'Content-Type: application/json'"];return o&&n.push('-H "Authorization: Bearer $SWIFT_API_KEY"'),n.push(`--data-binary ${qs(JSON.stringify(e,null,2))}`),n.join(` \\
  `)}function qs(e){return`'${e.replaceAll("'","'\\''")}'`}function Bo(e){let t=Object.entries(e).filter(([o,n])=>n!==null&&!kc.includes(o)&&!xc(o,n));return Object.fromEntries(t.map(([o,n])=>[o,o==="lora_loading"?Bo(n):n]))}function xc(e,t){if(!(e in Jo))return!1;let o=typeof Jo[e]=="number"?Mo(t):t;return Fs(o)===Fs(Jo[e])}function Fs(e){return JSON.stringify(e,(t,o)=>o===null?void 0:o)}function Ws(e){return`sha256:${e}`}function Hs(e,t){let[o,n]=$(null);return b(()=>{let r=new AbortController;return fetch(`v1/jobs/${encodeURIComponent(e)}`,{signal:r.signal}).then(async s=>s.ok&&n(Kt(await s.text()))).catch(()=>{}),()=>r.abort()},[e,t]),o}function Gs({exact:e}){let t=new URL("v1/jobs",document.baseURI).href,o=Bs(Js(e),{address:t,isKeyed:W.value?.auth==="keys"});return a`<${Vs} title="Request as curl" label="curl command" text=${o} />`}function zs({exact:e}){let t=JSON.stringify(e.receipt,null,2);return a`<${Vs} title="Receipt" label="Receipt" text=${t}>
<button type="button" class="button button-small" onClick=${()=>Sc(t,`${e.id}-receipt.json`)}>Download</button>
</>`}function Vs({title:e,label:t,text:o,children:n}){return a`<section class="card stack">
<div class="panel-header">
<h2>${e}</h2>
<div class="row">${n}<${ve} text=${o} /></div>
</div>
<pre class="panel-text" tabindex="0" role="region" aria-label=${t}>${o}</pre>
</section>`}function Sc(e,t){let o=document.createElement("a");o.href=URL.createObjectURL(new Blob([e],{type:"application/json"})),o.download=t,o.click(),setTimeout(()=>URL.revokeObjectURL(o.href),0)}function Qs(e){let t=[...e].sort((n,r)=>n.start_s-r.start_s),o=new Map;for(let n of new Set(t.map(r=>r.worker))){let r=t.filter(s=>s.worker===n);for(let s of[...new Set(r.map(Ks))].sort((i,l)=>Xs(i)-Xs(l))){let i=r.filter(c=>Ks(c)===s),l=![...o.keys()].some(c=>c.startsWith(`${n}/`));o.set(`${n}/${s}`,{name:Cc(bt(n),s,l),isFirst:l,rows:Ec(i)})}}return[...o.values()]}function Ys(e){let t=new Map;for(let o of[...e].sort((n,r)=>n.start_s-r.start_s)){let n=t.get(o.name)??{name:o.name,seconds:0,count:0,counts:{}};n.seconds+=o.end_s-o.start_s,n.count+=1;for(let[r,s]of Object.entries(o.counts??{}))n.counts[r]=(n.counts[r]??0)+s;t.set(o.name,n)}return[...t.values()]}function Zs(e,t){if(!(e>0))return[0];let o=e/Math.max(1,t),n=10**Math.floor(Math.log10(o)),r=[1,2,5,10].map(s=>s*n).find(s=>s>=o);return Array.from({length:Math.floor(e/r+1e-9)+1},(s,i)=>i*r)}function bt(e){return e.replace(/@\S*/,"")}function Cc(e,t,o){return o?t?`${e} · ${t.replace(/^(controlnet|lora) /,"")}`:e:t}function Ks({name:e}){return e.startsWith("wait")?"waits":e.startsWith("controlnet ")?e:e.match(/^(lora .*?)(?: from \w+| parse| prepare)$/)?.[1]??(e.startsWith("lora ")?e:"")}function Xs(e){return e===""?0:e==="waits"?1:e.startsWith("controlnet ")?2:3}function Ec(e){let t=[];for(let o of e){let n=t.find(r=>r.at(-1).end_s<=o.start_s);n?n.push(o):t.push([o])}return t}function ro(e){let t=Object.entries(e.counts??{}).map(([o,n])=>`, ${o.replaceAll("_"," ")} ${n.toLocaleString()}`);return`${e.name} on ${bt(e.worker)}: ${_t(e.start_s)} to ${_t(e.end_s)}, ${Ho(e)}${t.join("")}`}function _t(e){return`${e.toFixed(3)} s`}function Ho({start_s:e,end_s:t}){let o=t-e;return o<1?`${(1e3*o).toFixed(o<.1?1:0)} ms`:`${o.toFixed(2)} s`}var ea=20,Tc=16,vt=8,Go=24,Ac=72,Rc=1.5,Lc=28,Oc=2,Dc=96;function ta({lanes:e,colourOf:t,zoom:o,width:n,onShow:r}){let s=Math.min(180,Math.max(112,Math.round(n*.2))),i=Math.max(Dc,n-s-Oc)*o,l=Pc(e),c=Math.max(...l.map(({span:g})=>g.end_s),.001),d=g=>g/c*(i-Lc),u=l.at(-1).y+ea+vt/2,[m,p]=$(0),f=A(null),h=jc(i),_=g=>{let E=Ic(l,m,g.key);E!==void 0&&(g.preventDefault(),g.stopPropagation(),p(E),f.current.querySelector(`[data-bar="${E}"]`).focus())};return a`<div class="chart">
<div class="chart-lanes" aria-hidden="true" style=${{width:`${s}px`,height:`${u}px`}}>
${l.filter(g=>g.lane).map(({y:g,lane:E})=>a`<p class=${E.isFirst?"chart-worker":"chart-part"} style=${{top:`${g}px`}} title=${E.name}>${E.name}</p>`)}
</div>
<div ref=${h} class="chart-scroll" tabindex="0" role="region" aria-label="Timeline, scrolls sideways">
<svg ref=${f} width=${i} height=${u} role="group" aria-label="Timeline of the job, in seconds" onKeyDown=${_} onMouseLeave=${()=>r(null)}>
<${Nc} x=${d} end=${c} count=${Math.floor(i/Ac)} height=${u} />
${l.filter(g=>g.lane&&g.y>Go+vt).map(({y:g})=>a`<line class="chart-divider" x1="0" x2=${i} y1=${g-vt/2} y2=${g-vt/2} />`)}
${l.map(({span:g,y:E},v)=>a`<rect
key=${v} data-bar=${v} class="bar ${t(g.name)}" role="img" aria-label=${ro(g)} tabindex=${v===m?"0":"-1"}
x=${d(g.start_s)} y=${E} height=${Tc} width=${Math.max(Rc,d(g.end_s)-d(g.start_s))}
onMouseEnter=${()=>r(g)} onFocus=${()=>(p(v),r(g))} onClick=${()=>r(g)}
/>`)}
</svg>
</div>
</div>`}function Nc({x:e,end:t,count:o,height:n}){let r=Zs(t,o),s=r.length>1?Math.max(0,Math.ceil(-Math.log10(r[1])-1e-9)):0;return a`<g class="chart-axis" aria-hidden="true">
${r.map((i,l)=>a`<line x1=${e(i)} x2=${e(i)} y1=${Go-6} y2=${n} />
<text x=${e(i)} y="12" text-anchor=${l?"middle":"start"}>${i.toFixed(s)} s</text>`)}
</g>`}function Pc(e){let t=[],o=Go;for(let n of e)n.rows.forEach((r,s)=>{r.forEach((i,l)=>t.push({span:i,y:o,lane:s===0&&l===0?n:null})),o+=ea}),o+=vt;return t}function Ic(e,t,o){let{y:n,span:r}=e[t],s=e.map((u,m)=>({...u,i:m})).filter(u=>u.y===n),i=s.findIndex(u=>u.i===t);if(o==="ArrowLeft")return s[Math.max(0,i-1)].i;if(o==="ArrowRight")return s[Math.min(s.length-1,i+1)].i;if(o==="Home")return s[0].i;if(o==="End")return s.at(-1).i;if(o!=="ArrowUp"&&o!=="ArrowDown")return;let l=[...new Set(e.map(u=>u.y))],c=l[l.indexOf(n)+(o==="ArrowUp"?-1:1)]??n,d=u=>Math.abs(u.span.start_s-r.start_s);return e.map((u,m)=>({...u,i:m})).filter(u=>u.y===c).sort((u,m)=>d(u)-d(m))[0].i}function jc(e){let t=A(null),o=A(e);return Lt(()=>{let{scrollLeft:n,clientWidth:r}=t.current;t.current.scrollLeft=(n+r/2)*e/o.current-r/2,o.current=e},[e]),t}var yt=[1,2,4,8,16,32],Mc=12;function na({timeline:e}){let[t,o]=$(1),n=ct(null),r=J(()=>Qs(e),[e]),s=J(()=>Ys(e),[e]),i=J(()=>Jc(s),[s]),[l,c]=Bc();if(!e.length)return a`<${U} title="No timeline yet">It is there when the job has ended.</>`;let d=u=>o(yt[Math.min(yt.length-1,Math.max(0,yt.indexOf(t)+u))]);return a`<div class="timeline">
<div class="timeline-bar">
<${Uc} shown=${n} colourOf=${i} timeline=${e} />
<div class="row" role="group" aria-label="Zoom">
<button type="button" class="button button-small" disabled=${t===yt[0]} onClick=${()=>d(-1)} aria-label="Zoom out">−</button>
<button type="button" class="button button-small" disabled=${t===1} onClick=${()=>o(1)}>Fit</button>
<button type="button" class="button button-small" disabled=${t===yt.at(-1)} onClick=${()=>d(1)} aria-label="Zoom in">+</button>
</div>
</div>
<div ref=${l}>
${c>0&&a`<${ta} lanes=${r} colourOf=${i} zoom=${t} width=${c} onShow=${u=>n.value=u} />`}
</div>
<${qc} names=${s} colourOf=${i} shown=${n} />
<${Fc} timeline=${e} />
</div>`}function Uc({shown:e,colourOf:t,timeline:o}){let n=e.value;return n===null?a`<p class="timeline-shown">${Wc(o)}</p>`:a`<p class="timeline-shown">
<span class="swatch ${t(n.name)}"></span><strong>${n.name}</strong>${ro(n).slice(n.name.length)}
</p>`}function qc({names:e,colourOf:t,shown:o}){return a`<ul class="timeline-legend" aria-label="Legend: time by kind">
${e.map(({name:n,seconds:r,count:s})=>a`<li key=${n} class=${n===o.value?.name?"legend-shown":""}>
<span class="swatch ${t(n)}"></span>${n}
<span class="muted">${j(r)}${s>1?` in ${s}`:""}</span>
</li>`)}
</ul>`}function Fc({timeline:e}){let[t,o]=$(!1);return a`<details onToggle=${n=>o(n.target.open)}>
<summary>The same as a table: ${Z(e.length,"span")}</summary>
${t&&a`<div class="table-box timeline-table" tabindex="0" role="region" aria-label="Spans of the timeline">
<table class="table">
<caption class="visually-hidden">Spans of the timeline, by their start</caption>
<thead>
<tr>${["What","Worker","From","To","Time"].map((n,r)=>a`<th scope="col" class=${r>1?"cell-end":""}>${n}</th>`)}</tr>
</thead>
<tbody>
${[...e].sort((n,r)=>n.start_s-r.start_s).map(n=>a`<tr>
<th scope="row" data-label="What">${n.name}</th>
<td data-label="Worker">${bt(n.worker)}</td>
<td class="cell-end" data-label="From">${_t(n.start_s)}</td>
<td class="cell-end" data-label="To">${_t(n.end_s)}</td>
<td class="cell-end" data-label="Time">${Ho(n)}</td>
</tr>`)}
</tbody>
</table>
</div>`}
</details>`}function Wc(e){let t=Math.max(...e.map(o=>o.end_s));return a`<span class="muted">${j(t)} since the job was accepted. Point at a bar, or move with the arrow keys, for its times.</span>`}function Jc(e){let t=e.filter(({name:o})=>!oa(o)).map(({name:o})=>o);return o=>oa(o)?"span-idle":`span-${t.indexOf(o)%Mc}`}function oa(e){return e==="queued"||e.startsWith("wait")}function Bc(){let e=A(null),[t,o]=$(0);return b(()=>{if(!e.current)return;let n=0,r=new ResizeObserver(([s])=>{cancelAnimationFrame(n),n=requestAnimationFrame(()=>o(Math.floor(s.contentRect.width)))});return r.observe(e.current),()=>{cancelAnimationFrame(n),r.disconnect()}},[]),[e,t]}function ra({arg:e}){let{job:t,error:o,reload:n}=eo(e),r=Hs(e,t?.status);if(t===null)return a`<${I} title="Job">${o&&a`<${zc} error=${o} onRetry=${n} />`}</>`;let s=a`<${Ns} job=${t} exact=${r} onChange=${n} />`;return a`<${I} title="Job ${t.id}" actions=${s} className="job">
<div class="job-head">
<span aria-live="polite"><${B} status=${t.status} /></span>
<p class="job-prompt">${t.request.prompt||a`<span class="muted">without a prompt</span>`}</p>
${t.request.negative_prompt&&a`<p class="muted">without: ${t.request.negative_prompt}</p>`}
</div>
<${Gc} job=${t} />
<div class="job-top">
<section class="card" aria-label="Images">${Hc(t)}</section>
<section class="card" aria-label="Facts"><${Ms} job=${t} /></section>
</div>
<${Is} job=${t} />
${!Y(t.status)&&a`<section class="card stack"><h2>Timeline</h2><${na} timeline=${t.timeline} /></section>`}
${r&&a`<div class="job-records">
${r.receipt&&a`<${zs} exact=${r} />`}
<${Gs} exact=${r} />
</div>`}
</>`}function Hc(e){return Y(e.status)?a`<${Zt} job=${e} />`:e.images.length?a`<${Us} job=${e} />`:a`<${U} title="No image">The job ${e.status==="failed"?"has failed":"was cancelled"} before it had one.</>`}function Gc({job:e}){return!e.error&&!e.warnings.length?null:a`<div class="stack">
${e.error&&a`<div class="notice notice-bad"><p><strong>Failed: <code>${e.error.code}</code></strong></p><p>${e.error.detail}</p></div>`}
${e.warnings.length>0&&a`<div class="notice notice-warn">
<p><strong>${e.warnings.length>1?"Warnings":"Warning"}</strong></p>
<ul>${e.warnings.map(t=>a`<li key=${t}>${t}</li>`)}</ul>
</div>`}
</div>`}function zc({error:e,onRetry:t}){return e.status!==404?a`<${N} error=${e} onRetry=${t} />`:a`<${U} title="There is no such job">
<p>It was deleted, its time is over, or it is another tenant's.</p>
<p>See the <a href=${S("queue")}>queue</a> or the <a href=${S("gallery")}>gallery</a>.</p>
</>`}function sa(){let[e,t]=$(""),[o,n]=$(null),[r,s]=$(!1);return a`<main class="alone">
<form class="login" onSubmit=${async l=>{l.preventDefault(),s(!0),n(null);try{await ir(e.trim())}catch(c){n(c.retryAfterS?`${c.detail}; try again in ${c.retryAfterS} s`:c.detail),s(!1)}}}>
<h1>swiftdiffusion</h1>
<${C}
label="API key" error=${o}
hint="It is sent once; a cookie of this browser takes its place. The first key is shown when the fleet starts."
>
<input
type="password" value=${e} autocomplete="current-password" spellcheck=${!1} required autofocus
placeholder="swk_…" onInput=${l=>t(l.target.value)}
/>
</>
<button type="submit" class="button button-primary" disabled=${r||!e.trim()}>Log in</button>
</form>
</main>`}var aa=500,Vc=3,re=x({list:null,cursor:null,error:null});function Qe(e){return`v1/loras/${encodeURIComponent(e)}`}function zo(e,t){return(re.value.list??[]).find(o=>o.name===e&&Vo(o,t))}function Vo(e,t){return e.public===(t==="local")}async function Ye(){let e=Math.max(aa,re.value.list?.length??0);await ca("",[],Math.min(e,1e3))}async function ia(){await ca(re.value.cursor,re.value.list,aa)}async function la(e){try{await y(Qe(e),{method:"DELETE"}),T(`LoRA '${e}' is deleted`,"ok")}catch(t){T(t.detail,"bad")}await Ye()}async function ca(e,t,o){let n=new URLSearchParams({limit:o,...e&&{cursor:e}});try{let r=await y(`v1/loras?${n}`);re.value={list:[...t,...r.loras],cursor:r.next_cursor,error:null},Kc()}catch(r){re.value={...re.value,error:r}}}async function Kc(){let{list:e}=re.value,t=e.filter(n=>n.rank===null&&!n.problem),o=async()=>{for(let n=t.shift();n&&re.value.list===e;n=t.shift())try{let{family:r,rank:s,problem:i}=await y(Qe(n.name));Object.assign(n,{family:r,rank:s,problem:i})}catch(r){if(r.status!==404)return}};t.length&&(await Promise.all(Array.from({length:Vc},o)),re.value.list===e&&(re.value={...re.value}))}var Xc={sd1:"SD 1",sd2:"SD 2",sdxl:"SDXL"},Qc={patched:["in weights of","accent"],memory:["in memory of","ok"],disk:["on disk of","muted"]};function ua({rows:e,holders:t,knowsHolders:o,onShow:n}){let s=[{key:"name",label:"Name",isHeader:!0,render:i=>a`<button type="button" class="link-button breakable" onClick=${()=>n(i)}>${i.name}</button>`},{key:"family",label:"Base",render:i=>Xc[i.family]??a`<span class="muted">unknown</span>`},{key:"size",label:"Size",align:"end",render:i=>Q(i.size_bytes)},{key:"rank",label:"Rank",align:"end",render:i=>i.rank??"–"},{key:"owner",label:"Owner",render:({public:i})=>a`<${X}>${i?"public":"own"}</>`},{key:"modified",label:"Changed",render:i=>Ge(i.modified)},...o?[{key:"cached",label:"Cached",render:i=>a`<${Ko} name=${i.name} holders=${t.get(i.version)} />`}]:[],{key:"actions",label:"Actions",align:"end",render:i=>a`<${Zc} lora=${i} />`}];return a`<${K} caption="LoRAs" columns=${s} rows=${e} keyOf=${i=>i.version} />`}function Ko({name:e,holders:t}){let o=Object.entries(Qc).filter(([n])=>t?.[n].length);return a`<${ie} label="Where ${e} is cached" none="in S3 only">
${o.map(([n,[r,s]])=>a`<${X} key=${n} kind=${s} title=${t[n].join(", ")}>${r} ${Yc(t[n])}</>`)}
</>`}function Yc(e){return e.length>2?`${e[0]} and ${e.length-1} others`:e.join(", ")}function Zc({lora:e}){return a`<div class="row lora-actions">
${ce("jobs")&&a`<a class="button button-small" href=${S("generate","",{lora:e.name})}>Use</a>`}
<${ve} text=${`<lora:${e.name}:1>`} label="Copy tag" />
<${da} lora=${e} />
</div>`}function da({lora:e}){if(!ce("loras")||!Vo(e,W.value.tenant))return null;let t=async()=>{await oe({title:`Delete LoRA '${e.name}'?`,text:"Its file is removed from the bucket. Jobs that wait for it fail with lora_gone unless a cache still holds it.",label:"Delete",isDangerous:!0})&&await la(e.name)};return a`<button type="button" class="button button-small button-bad" aria-label="Delete ${e.name}" onClick=${t}>Delete</button>`}function fa({rows:e}){return a`<section class="stack" aria-labelledby="unusable">
<h2 id="unusable">Objects that cannot be used</h2>
<${K} caption="Objects that cannot be used" columns=${[{key:"name",label:"Object",isHeader:!0,render:o=>a`<span class="breakable">${o.name}</span>`},{key:"size",label:"Size",align:"end",render:o=>Q(o.size_bytes)},{key:"problem",label:"Why it cannot be used",render:o=>a`<span class="unusable-reason">${o.problem}</span>`},{key:"actions",label:"Actions",align:"end",render:o=>/\/|\.\w+$/.test(o.name)?null:a`<${da} lora=${o} />`}]} rows=${e} keyOf=${o=>o.name} />
</section>`}function ma({lora:e,holders:t,onClose:o}){let{data:n,error:r,reload:s}=O(Qe(e.name)),i=n??e,l=[["Size",Q(i.size_bytes)],["Trained for",i.family??"unknown"],["Rank",i.rank??"–"],["Parts",n?.parts.join(", ")||"–"],["Tensors",n?.tensors??"–"],["Steps without it",n?.max_async_steps??"as the job says"],["Embeddings, not applied",n?.embeddings.join(", ")],["Changed",te(i.modified)],["SHA-256",n?.sha256&&a`<code>${n.sha256}</code>`],["Cached",a`<${Ko} name=${e.name} holders=${t} />`]].filter(([,c])=>c!=null&&c!=="");return a`<${_e}
title=${e.name} onClose=${o}
footer=${a`<${ve} text=${`<lora:${e.name}:1>`} label="Copy tag" /><${ve} text=${e.name} label="Copy name" />`}
>
${r&&a`<${N} error=${r} onRetry=${s} />`}
${n?.problem&&a`<p class="callout callout-warn">${n.problem}</p>`}
<dl class="lora-facts">${l.map(([c,d])=>a`<div key=${c}><dt>${c}</dt><dd>${d}</dd></div>`)}</dl>
</>`}var eu=2,$e=x([]),wt=new Map,pa=0;function $a(e){let t=e.map(o=>{pa+=1;let n=o.name.replace(/\.safetensors$/i,"");return{id:pa,file:o,name:n,maxAsyncSteps:"",state:"ready",sentBytes:0,error:null}});$e.value=[...$e.value,...t]}function pe(e,t){$e.value=$e.value.map(o=>o.id===e?{...o,...t}:o)}function ha(e){let{name:t}=$e.value.find(o=>o.id===e);if(tu(t)){let o=t?"a name has no slash, and does not begin with a dot":"a LoRA needs a name";pe(e,{state:"refused",error:new Pe(422,{field:"name",detail:o})});return}pe(e,{state:"waiting",error:null,sentBytes:0}),ga()}function Xo(e){wt.get(e)?.abort(),wt.has(e)||($e.value=$e.value.filter(t=>t.id!==e))}function tu(e){return e===""||/[/\\]|^\./.test(e)}function ga(){let e=$e.value.find(t=>t.state==="waiting");e&&wt.size<eu&&ou(e)}async function ou({id:e,file:t,name:o,maxAsyncSteps:n}){let r=new AbortController;wt.set(e,r),pe(e,{state:"sending"});let s=n===""?"":`?max_async_steps=${encodeURIComponent(n)}`,i=(l,c)=>pe(e,{sentBytes:l,state:l<c?"sending":"checking"});try{await Xn(Qe(o)+s,t,{onProgress:i,signal:r.signal}),pe(e,{state:"done"}),T(`LoRA '${o}' is uploaded`,"ok"),Ye()}catch(l){l.name==="AbortError"?pe(e,{state:"cancelled",sentBytes:0}):pe(e,{state:"refused",error:l})}wt.delete(e),ga()}var Qo={waiting:["waiting","muted"],sending:["sending","accent"],checking:["being stored","accent"],done:["done","ok"],refused:["refused","bad"],cancelled:["cancelled","warn"]},nu=["ready","refused","cancelled"];function ba(){let e=$e.value,t=e.filter(o=>o.state==="ready");return a`<section class="stack" aria-label="Uploads">
<${ye}
label="Upload LoRAs" accept=".safetensors" multiple hint="drop .safetensors files here, or press to pick some" onFiles=${$a}
/>
${e.length>0&&a`<ul class="uploads">${e.map(o=>a`<${ru} key=${o.id} one=${o} />`)}</ul>`}
${t.length>1&&a`<div><button type="button" class="button button-primary" onClick=${()=>t.forEach(_a)}>Upload ${Z(t.length,"file")}</button></div>`}
</section>`}function ru({one:e}){let{id:t,file:o,name:n,state:r,error:s}=e,i=nu.includes(r),l=i&&zo(n,W.value.tenant),c=He(s);return a`<li class="card upload">
<div class="upload-head">
<p class="grow"><strong>${o.name}</strong> <span class="muted">${Q(o.size)}</span></p>
${Qo[r]&&a`<${B} status=${Qo[r][0]} kind=${Qo[r][1]} />`}
</div>
${i?a`<${su} one=${e} errors=${c} replaced=${l} />`:a`<${au} one=${e} />`}
${s&&!c.name&&!c.max_async_steps&&a`<p class="field-error" role="alert">${s.detail}</p>`}
${!i&&a`<div class="row upload-buttons">
<button type="button" class="button button-small" aria-label=${`${r==="done"?"Dismiss":"Cancel"} ${o.name}`} onClick=${()=>Xo(t)}>
${r==="done"?"Dismiss":"Cancel"}
</button>
</div>`}
</li>`}function su({one:e,errors:t,replaced:o}){let{id:n,file:r,name:s,maxAsyncSteps:i,state:l}=e;return a`<form class="upload-form" onSubmit=${d=>{d.preventDefault(),_a(e)}}>
<${C} label="Name" error=${t.name} hint=${o?`replaces the LoRA of this name (${Q(o.size_bytes)})`:void 0}>
<input value=${s} required maxlength="128" onInput=${d=>pe(n,{name:d.target.value})} />
</>
<${C} label="Steps without it, at most" hint="empty: as each job says; 0: for LoRAs that change composition" error=${t.max_async_steps}>
<input
type="number" min="0" max="999999" step="1" value=${i}
onInput=${d=>pe(n,{maxAsyncSteps:d.target.value})}
/>
</>
<div class="row upload-buttons">
<button type="submit" class="button button-small button-primary" aria-label=${`Upload ${r.name}`}>${l==="ready"?"Upload":"Try again"}</button>
<button type="button" class="button button-small" aria-label=${`Remove ${r.name} from the list`} onClick=${()=>Xo(n)}>Remove</button>
</div>
</form>`}function au({one:{file:e,name:t,state:o,sentBytes:n}}){if(o==="done")return a`<p class="muted">It is the LoRA <strong>${t}</strong> now.</p>`;let r=o==="checking"?"being stored":`${Q(n)} of ${Q(e.size)}`;return a`<${me} label="Upload of ${e.name}" value=${o==="checking"?null:n} max=${e.size} text=${r} />`}async function _a({id:e,name:t}){(!zo(t,W.value.tenant)||await oe({title:`Replace LoRA '${t}'?`,text:"There is one of this name already. Jobs that were accepted with the old file fail with lora_gone unless a cache still holds it.",label:"Replace",isDangerous:!0}))&&ha(e)}function va({query:e}){let[t,o]=$(e.search??""),[n,r]=$(null),s=O(ce("fleet")?"v1/fleet":null,{everyMs:5e3}),i=J(()=>Ir(s.data),[s.data]);b(()=>{Ye()},[]);let{list:l,error:c,cursor:d}=re.value,u=(l??[]).filter(f=>f.name.toLowerCase().includes(t.trim().toLowerCase())),m=u.filter(f=>!f.problem),p=u.filter(f=>f.problem);return a`<${I} title="LoRAs" className="loras">
${ce("loras")&&a`<${ba} />`}
${c&&!l&&a`<${N} error=${c} onRetry=${Ye} />`}
${!l&&!c&&a`<p class="muted">Reading the list …</p>`}
${l?.length===0&&a`<${iu} />`}
${l?.length>0&&a`
<div class="lora-search">
<${C} label="Search by name">
<input type="search" value=${t} onInput=${f=>o(f.target.value)} />
</>
<p class="muted" aria-live="polite">${Z(m.length,"LoRA")}${t&&` of ${l.length} objects`}</p>
</div>
${m.length>0?a`<${ua} rows=${m} holders=${i} knowsHolders=${s.data!==null} onShow=${r} />`:a`<p class="muted">No LoRA has this in its name.</p>`}
${d&&a`<div><button type="button" class="button" onClick=${ia}>Read more of the list</button></div>`}
${p.length>0&&a`<${fa} rows=${p} />`}
`}
${n&&a`<${ma} lora=${n} holders=${i.get(n.version)} onClose=${()=>r(null)} />`}
</>`}function iu(){return a`<${U} title="There are no LoRAs yet">
<p>Drop a <code>.safetensors</code> file above, or put one into the bucket with any S3 client: it appears here.</p>
</>`}var lu=6,cu=200,uu=5,de=x(null);async function Yo(e,{title:t,text:o,label:n}){let r;try{r=await fu(e)}catch(i){T(`The jobs could not be listed: ${i.detail}`,"bad");return}if(!r.length){T("There is no such job any more.");return}await oe({title:t(Z(r.length,"job")),text:o,label:n(r.length),isDangerous:!0})&&await Zo(r)}async function Zo(e){de.value={done:0,count:e.length,failures:[],isOver:!1};let t=[...e],o=async()=>{for(let n=t.shift();n!==void 0;n=t.shift()){let r=await du(n),{done:s,failures:i}=de.value;de.value={...de.value,done:s+1,failures:r?[...i,{id:n,detail:r}]:i}}};await Promise.all(Array.from({length:lu},o)),de.value={...de.value,isOver:!0}}async function du(e){for(let t=1;;t+=1)try{return await y(`v1/jobs/${e}/cancel`,{method:"POST"}),null}catch(o){if(o.status===404)return null;if(!((o.status===429||o.status===503)&&t<uu))return o.detail??String(o);await new Promise(r=>setTimeout(r,1e3*Math.min(o.retryAfterS||1,30)))}}async function fu(e){let t=[];for(let o of e){let n="";do{let r=await y(`v1/jobs?status=${o}&limit=${cu}&fields=id${n&&`&cursor=${n}`}`);t.push(...r.jobs.map(({id:s})=>s)),n=r.next_cursor}while(n)}return t}var mu="created_at,started_at,finished_at,queue_position,progress,model,prompt,priority,estimate,error,tenant",pu=200,$u=1e3,hu=300,gu={active:["running","queued"],all:[null]};function ya(e,t){let o=gu[e]??[e],n={rows:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},r=new Map,s=[],i=new Set,l=null,c=w=>o.includes(null)||o.includes(w.status),d=()=>{let w=e==="active"?_u:en;n.rows.value=[...r.values()].sort((k,D)=>w(k.peek(),D.peek())),n.hasOlder.value=s.some(({cursor:k})=>k!==null)},u=w=>{r.has(w.id)?r.get(w.id).value=w:r.set(w.id,x(w))},m=async(w,k)=>{let D=new URLSearchParams({limit:pu,fields:mu});return w&&D.set("status",w),k&&D.set("cursor",k),t==="all"&&D.set("tenants","all"),y(`v1/jobs?${D}`)},p=async()=>{try{let w=[],k=[];for(let D of o){let L={next_cursor:null},ee=0;do L=await m(D,L.next_cursor),w.push(...L.jobs),ee+=L.jobs.length;while(D==="queued"&&e==="active"&&L.next_cursor&&ee<$u);k.push({status:D,cursor:L.next_cursor})}Oe(()=>{let D=new Set(w.map(({id:L})=>L));for(let L of r.keys())D.has(L)||r.delete(L);w.forEach(u),s=k,n.error.value=null,d()})}catch(w){n.error.value=w}n.isLoaded.value=!0},f=async()=>{let w=[];for(let{status:k,cursor:D}of s){let L=D===null?{jobs:[],next_cursor:null}:await m(k,D);L.jobs.forEach(u),w.push({status:k,cursor:L.next_cursor})}s=w,d()},h=async()=>{l=null;let w=new Set(i);i.clear();try{let{jobs:k,next_cursor:D}=await m(null,null),L=k.filter(({id:ee})=>w.has(ee));if(L.length<w.size&&D!==null)return await p();Oe(()=>{for(let ee of w)r.delete(ee);L.filter(c).forEach(u),d()})}catch(k){n.error.value=k}},_=w=>{i.add(w),l??=setTimeout(h,hu)},g=({job:w,status:k,at:D})=>{let L=r.get(w);if(!L||k==="queued"||k==="failed")return _(w);let ee=L.peek();return Oe(()=>{let he=k==="running"?new Date(D*1e3).toISOString():ee.started_at;L.value={...ee,status:k,started_at:he,queue_position:null},ee.status==="queued"&&bu(r,ee),c(L.peek())||r.delete(w),d()})},E=({job:w,step:k,total:D})=>{let L=r.get(w);L&&(L.value={...L.peek(),progress:{step:k,total:D}})};return{...n,start:()=>{let w=[z("reset",p),z("status",g),z("progress",E)];p();let k=t==="all"&&setInterval(()=>document.hidden||p(),4e3);return()=>{w.forEach(D=>D()),clearTimeout(l),clearInterval(k)}},load:p,loadOlder:f}}function bu(e,t){for(let o of e.values()){let n=o.peek();n.status==="queued"&&n.tenant===t.tenant&&n.queue_position>t.queue_position&&(o.value={...n,queue_position:n.queue_position-1})}}function _u(e,t){return e.status!==t.status?e.status==="running"?-1:1:e.status==="running"?en(e,t):(e.queue_position??1/0)-(t.queue_position??1/0)||-en(e,t)}function en(e,t){return e.created_at<t.created_at?1:e.created_at>t.created_at?-1:e.id<t.id?1:-1}function wa({rows:e,tenant:t,showsTenant:o}){let n=ct(Date.now());b(()=>{let s=setInterval(()=>n.value=Date.now(),1e3);return()=>clearInterval(s)},[]);let r=["Job","Status",...o?["Tenant"]:[],"Priority","Place","Progress","Done in","Age"];return a`<div class="table-box queue-box">
<table class="table queue">
<caption class="visually-hidden">Jobs</caption>
<thead>
<tr>
${r.map(s=>a`<th scope="col" key=${s} class="queue-${s.toLowerCase().replace(" ","-")}">${s}</th>`)}
<th scope="col"><span class="visually-hidden">Cancel</span></th>
</tr>
</thead>
<tbody>
${e.value.map(s=>a`<${vu} key=${s.peek().id} job=${s} now=${n} tenant=${t} showsTenant=${o} />`)}
</tbody>
</table>
</div>`}function vu({job:e,now:t,tenant:o,showsTenant:n}){let r=e.value,s=r.tenant===o,{step:i,total:l}=r.progress,c=r.prompt||"without a prompt",d=yo(()=>ka((t.value-Date.parse(e.value.created_at))/1e3)),u=yo(()=>yu(e.value,t.value));return a`<tr>
<th scope="row" data-label="Job">
<div class="queue-name">
${s?a`<a href=${S("job",r.id)} title=${c}>${c}</a>`:a`<span title=${c}>${c}</span>`}
<span class="muted">${r.model}</span>
</div>
</th>
<td data-label="Status"><span title=${r.error?.detail}><${B} status=${r.status} /></span></td>
${n&&a`<td data-label="Tenant">${r.tenant}</td>`}
<td data-label="Priority" class=${r.priority==="normal"?"muted":""}>${r.priority}</td>
<td data-label="Place">${r.queue_position??"–"}</td>
<td data-label="Progress" class="queue-progress">
${r.status==="running"?a`<${me} label="Progress of ${c}" value=${l?i:null} max=${l} text=${l?`${i}/${l}`:""} />`:wu(r)}
</td>
<td data-label="Done in">${u}</td>
<td data-label="Age">${d}</td>
<td class="queue-actions">
${s&&Y(r.status)&&a`<button type="button" class="button button-small" aria-label="Cancel ${c}" onClick=${()=>Be(r.id)}>Cancel</button>`}
</td>
</tr>`}function yu(e,t){if(!Y(e.status))return"–";let o=Yt(e,t);return o!==null?`≈ ${ka(o)}`:e.estimate?.eta_s==null?"unknown":"later than estimated"}function ka(e){return e<10?`${Math.max(0,Math.round(e))} s`:j(e)}function wu({status:e,progress:{step:t,total:o}}){return e!=="queued"&&o&&t<o?a`<span class="muted">${t}/${o}</span>`:a`<span class="muted">–</span>`}var xa=[["active","waiting and running"],["all","all"],["queued","queued"],["running","running"],["succeeded","succeeded"],["failed","failed"],["cancelled","cancelled"]];function Sa({query:e}){let t=xa.some(([i])=>i===e.status)?e.status:"active",o=W.value.auth==="keys"&&ce("admin"),n=o&&e.tenants==="all"?"all":"own",r=J(()=>ya(t,n),[t,n]);b(()=>r.start(),[r]);let s=i=>se("queue","",{status:t,tenants:n,...i});return a`<${I} title="Queue" actions=${a`<${Cu} />`}>
<div class="queue-filters">
<${C} label="Status"><${V} options=${xa} value=${t} onChange=${i=>s({status:i})} /></>
${o&&a`<${C} label="Tenants">
<${V} options=${[["own","mine"],["all","all"]]} value=${n} onChange=${i=>s({tenants:i})} />
</>`}
<${ku} queue=${r} />
</div>
<${Eu} />
<${xu} queue=${r} filter=${t} showsTenant=${n==="all"} />
</>`}function ku({queue:e}){let{rows:t,hasOlder:o,isLoaded:n}=e;return a`<p class="muted queue-count" aria-live="polite">
${n.value?`${Z(t.value.length,"job")}${o.value?", and older ones":""}`:""}
</p>`}function xu({queue:e,filter:t,showsTenant:o}){let[n,r]=$(!1),{rows:s,isLoaded:i,error:l,hasOlder:c,load:d,loadOlder:u}=e;if(!i.value)return a`<p class="muted" aria-busy="true">Reading the jobs …</p>`;if(l.value&&!s.value.length)return a`<${N} error=${l.value} onRetry=${d} />`;if(!s.value.length)return a`<${Su} filter=${t} />`;let m=async()=>{r(!0),await u().catch(p=>T(p.detail,"bad")),r(!1)};return a`
<${wa} rows=${s} tenant=${W.value.tenant} showsTenant=${o} />
${c.value&&a`<p class="queue-older"><button type="button" class="button" disabled=${n} onClick=${m}>Show older jobs</button></p>`}
`}function Su({filter:e}){return e!=="active"?a`<${U} title=${e==="all"?"No jobs":`No job is ${e}`}>Jobs are kept for a while after their end.</>`:a`<${U} title="Nothing waits, nothing runs">
<a href=${S("generate")}>Generate an image</a>, or look at <a href=${S("queue","",{status:"all"})}>earlier jobs</a>.
</>`}function Cu(){let e=de.value!==null&&!de.value.isOver;return a`
<button type="button" class="button" disabled=${e} onClick=${()=>Yo(["queued"],{title:n=>`Cancel ${n} that wait${n.startsWith("1 ")?"s":""}?`,text:"Jobs of yours that no worker has begun yet are cancelled. Those that run go on.",label:n=>`Cancel ${n}`})}>Cancel all waiting</button>
<button type="button" class="button button-bad" disabled=${e} onClick=${()=>Yo(["queued","running"],{title:n=>`Cancel all of your ${n}?`,text:"Jobs that wait are cancelled at once, running ones within one step. Finished images stay.",label:n=>`Cancel ${n}`})}>Cancel all of mine</button>
`}function Eu(){let e=de.value;if(e===null)return null;let{done:t,count:o,failures:n,isOver:r}=e,s=()=>de.value=null;return a`<section class="notice ${n.length?"notice-bad":"notice-ok"}" aria-label="Cancelling" role="status">
${r?a`<p><strong>${Z(o-n.length,"job")} cancelled${n.length?`, ${n.length} not`:""}</strong></p>`:a`<${me} label="Jobs cancelled" value=${t} max=${o} text="${t} / ${o} cancelled" />`}
${n.length>0&&a`<ul>
${n.map(({id:i,detail:l})=>a`<li key=${i}><a href=${S("job",i)}>${i}</a>: ${l}</li>`)}
</ul>`}
${r&&a`<div class="row">
${n.length>0&&a`<button type="button" class="button button-small" onClick=${()=>Zo(n.map(({id:i})=>i))}>Try these again</button>`}
<button type="button" class="button button-small" onClick=${s}>Close</button>
</div>`}
</section>`}var Ca={generate:{view:Ds,label:"Generate",scope:"jobs"},gallery:{view:ps,label:"Gallery",scope:"jobs"},queue:{view:Sa,label:"Queue",scope:"jobs"},job:{view:ra,scope:"jobs"},loras:{view:va,label:"LoRAs",scope:"loras"},fleet:{view:Jr,label:"Fleet",scope:"fleet"},webhooks:{view:Or,label:"Webhooks",scope:"jobs"},tenants:{view:Cr,label:"Tenants",scope:"admin"},keys:{view:_r,label:"API keys",scope:"admin"}};function Ea(){let e=W.value,t=e?.auth==="off"?"off":e?.key_id;if(b(()=>{if(!e||!ce("jobs"))return;let i=nr(),l=z("unauthorized",()=>W.value=null);return zn(),()=>{Vn(),l(),i()}},[t]),b(()=>{let i=l=>l.preventDefault();for(let l of["dragover","drop"])addEventListener(l,i)},[]),e===void 0)return a`<main class="alone" aria-busy="true"><p class="muted">Connecting to the API …</p></main>`;if(e===null)return a`<${sa} /><${Co} />`;let{view:o,arg:n,query:r}=wo.value,s=Ca[o].view;return a`
<a class="skip" href="#main" onClick=${Ou}>Skip to the content</a>
<div class="shell">
<${Tu} current=${o} />
<main id="main" tabindex="-1"><${s} key=${`${o}/${n}`} arg=${n} query=${r} /></main>
</div>
<${Co} /><${Un} /><${Jn} />
`}function Tu({current:e}){let[t,o]=$(!1);b(()=>o(!1),[e]);let n=Object.entries(Ca).filter(([,{label:r,scope:s}])=>r&&ce(s));return a`<header class="sidebar ${t?"sidebar-open":""}">
<div class="brand">
<a href=${S("generate")}>swiftdiffusion</a>
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
${n.map(([r,{label:s}])=>a`<li key=${r}>
<a href=${S(r)} aria-current=${r===e?"page":void 0}>${s}</a>
</li>`)}
</ul>
</nav>
<div class="sidebar-foot"><${Au} /><${Ru} /><${Lu} /></div>
</div>
</header>`}function Au(){let{auth:e,tenant:t}=W.value,o=()=>lr().catch(n=>T(n.detail,"bad"));return a`<div class="account">
<p class="connection connection-${We.value}" aria-live="polite">
${We.value==="open"?"Live":"Connection lost"}
</p>
${e==="keys"&&a`<p class="muted">Tenant <strong>${t}</strong></p>
<button type="button" class="button button-small" onClick=${o}>Log out</button>`}
</div>`}function Ru(){return a`<fieldset class="segments">
<legend class="visually-hidden">Colours</legend>
${No.map(e=>a`<label key=${e}>
<input type="radio" name="theme" value=${e} checked=${mt.value===e} onChange=${()=>dr(e)} />
<span>${e}</span>
</label>`)}
</fieldset>`}function Lu(){return a`<p class="help-links">
<button type="button" class="link-button" onClick=${So}>Shortcuts <kbd>?</kbd></button>
<a href="docs/swagger">API</a>
</p>`}function Ou(e){e.preventDefault(),document.getElementById("main").focus()}ur();Fn();Do();$n(a`<${Ea} />`,document.getElementById("app"));
